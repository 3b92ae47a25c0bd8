#!/bin/sh
# Apache Kafka beside chronik, for parity tests and benchmarks: KRaft, broker and controller in one JVM.
#   kafka.sh fetch                               its jars by Maven into .parity/, again when pom.xml changes
#   kafka.sh format DIR PORT CPORT [ID VOTERS]   a new node in the empty folder DIR on 127.0.0.1;
#                                                VOTERS, ID@HOST:CPORT,..., make it one of several
#   kafka.sh start DIR                           a formatted node in the foreground: the process becomes the JVM
#   kafka.sh run DIR PORT CPORT                  format and start
# KAFKA_JVM: options of the JVM, by default those of one that is up soon rather than fast for long.
# KAFKA_PROPERTIES: further settings of a node, taken at format, NAME=VALUE with spaces between.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../../.parity
jars=$out/jars
soon="-Xmx512m -Xshare:auto -XX:+UseSerialGC -XX:TieredStopAtLevel=1"

fetch() {
	sum=$(sha256sum <"$here/pom.xml")
	[ "$(cat "$out/fetched" 2>/dev/null)" = "$sum" ] && return
	rm -rf "$out"
	mkdir -p "$out"
	mvn -q -B -ntp -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars"
	echo "$sum" >"$out/fetched"
}

# jvm OPTIONS CLASS ARG... ends in a JVM with these options, which are split into words.
jvm() {
	options=$1
	shift
	# shellcheck disable=SC2086
	exec java $options -Djava.awt.headless=true -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" "$@"
}

properties() { # DIR PORT CPORT ID VOTERS REPLICAS
	cat <<-END
		process.roles=broker,controller
		node.id=$4
		controller.quorum.voters=$5
		listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$3
		advertised.listeners=PLAINTEXT://127.0.0.1:$2
		controller.listener.names=CONTROLLER
		listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
		inter.broker.listener.name=PLAINTEXT
		log.dirs=$1/data
		offsets.topic.replication.factor=$6
		transaction.state.log.replication.factor=$6
		transaction.state.log.min.isr=1
		share.coordinator.state.topic.replication.factor=$6
		share.coordinator.state.topic.min.isr=1
		group.initial.rebalance.delay.ms=0
	END
	for setting in ${KAFKA_PROPERTIES:-}; do echo "$setting"; done
}

format() { # DIR PORT CPORT [ID VOTERS]
	replicas=1
	case ${5:-} in *,*) replicas=3 ;; esac
	mkdir -p "$1"
	properties "$1" "$2" "$3" "${4:-1}" "${5:-1@127.0.0.1:$3}" $replicas >"$1/server.properties"
	(jvm "$soon" kafka.tools.StorageTool format -t chronikParityCluster00 -c "$1/server.properties")
}

start() { # DIR
	ulimit -n "$(ulimit -Hn)"
	jvm "${KAFKA_JVM:-$soon}" kafka.Kafka "$1/server.properties"
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
fetch) fetch ;;
format) format "$@" ;;
start) start "$@" ;;
run)
	format "$@"
	start "$1"
	;;
*)
	sed -n '2,10s/^# //p' "$0" >&2
	exit 2
	;;
esac
