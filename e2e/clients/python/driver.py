"""driver.py kafka-python|confluent-kafka BOOTSTRAP STORY ARGS...; see ../README.md."""

import importlib
import sys

MODULES = {"kafka-python": "kafka_python_driver", "confluent-kafka": "confluent_driver"}

family, bootstrap, story, *args = sys.argv[1:]
driver = importlib.import_module(MODULES[family]).Driver(bootstrap)
getattr(driver, story.replace("-", "_"))(*args)
