#!/bin/sh
# Apache Kafka for the parity tests: one KRaft node, broker and controller in one JVM.
#   kafka.sh fetch                 its jars by Maven into .parity/, again when pom.xml changes
#   kafka.sh run DIR PORT CPORT    a new node in the empty folder DIR on 127.0.0.1, in the
#                                  foreground: the process becomes the JVM
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../../.parity
jars=$out/jars

fetch() {
	sum=$(sha256sum <"$here/pom.xml")
	[ "$(cat "$out/fetched" 2>/dev/null)" = "$sum" ] && return
	rm -rf "$out"
	mkdir -p "$out"
	mvn -q -B -ntp -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars"
	echo "$sum" >"$out/fetched"
}

# jvm CLASS ARG... ends in a JVM tuned to be up soon rather than fast for long.
jvm() {
	exec java -Xmx512m -Xshare:auto -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true \
		-Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" "$@"
}

properties() {
	cat <<-END
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:$3
		listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$3
		advertised.listeners=PLAINTEXT://127.0.0.1:$2
		controller.listener.names=CONTROLLER
		listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
		inter.broker.listener.name=PLAINTEXT
		log.dirs=$1/data
		offsets.topic.replication.factor=1
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		share.coordinator.state.topic.replication.factor=1
		share.coordinator.state.topic.min.isr=1
		group.initial.rebalance.delay.ms=0
	END
}

case ${1:-} in
fetch) fetch ;;
run)
	shift
	properties "$@" >"$1/server.properties"
	(jvm kafka.tools.StorageTool format -t chronikParityCluster00 -c "$1/server.properties")
	jvm kafka.Kafka "$1/server.properties"
	;;
*)
	sed -n '2,5s/^# //p' "$0" >&2
	exit 2
	;;
esac
