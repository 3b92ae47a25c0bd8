module chronik/e2e/clients/confluentgo

go 1.26.8

require (
	chronik/e2e/clients v0.0.0
	github.com/confluentinc/confluent-kafka-go/v2 v2.11.1
)

replace chronik/e2e/clients => ../
