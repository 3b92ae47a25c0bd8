# make run, make test: these two need only Go. `make help` lists the rest.
GO ?= go
# V=-v prints every test; FUZZTIME is the time of each fuzz target. DURATION, FAULTS (names
# of e2e/nemesis_test.go; all: those of nodes, connections and disks, plain: without disks,
# network: of networks, which need root), NODES, REPLICAS (3 where NODES are as many, else 1) and
# SEED are of make chaos.
V ?=
FUZZTIME ?= 5m
DURATION ?= 5m
FAULTS ?= all
NODES ?= 1
REPLICAS ?=
SEED ?=
# COUNT and BENCH are of make microbench; BENCHFLAGS of make bench and bench-kafka, as
# -rows 1,7-9 -seconds 5 -runs 1 (go run ./e2e/bench -help lists them). KAFKA=host:port with
# KAFKA_PID=pid,pid is a Kafka that is running already, for bench-kafka. DURATION is of make
# soak too.
COUNT ?= 6
BENCH ?= .
BENCHFLAGS ?=
KAFKA ?=
KAFKA_PID ?=

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT = mvdan.cc/gofumpt@v0.12.0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS = -X chronik/cli.version=$(VERSION) -X chronik/cli.commit=$(COMMIT)

# The packages that build the product; e2e drives the built binary.
PRODUCT = $(shell $(GO) list ./... | grep -v '^chronik/e2e')
TEST = $(GO) test -count=1 $(V)

.PHONY: help build run test check race interop parity rounds fuzz chaos bench bench-kafka soak microbench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

build: ## bin/chronik
	@mkdir -p bin
	$(GO) build -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/chronik .

run: build ## one broker on localhost:9092, data in ./chronik-data
	bin/chronik start

test: ## all tests that need only Go (at most 20 minutes on two cores)
	$(TEST) -timeout 6m $(PRODUCT)
	$(TEST) -timeout 18m ./e2e/...

check: ## vet, staticcheck, gofumpt, go fix, go mod tidy, the rules of the house
	$(GO) vet ./...
	$(GO) vet -tags interop,parity ./e2e/...
	$(GO) vet -tags plantedbugs $(PRODUCT)
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags interop,parity ./e2e/...
	@echo gofumpt -l .
	@found=$$($(GO) run $(GOFUMPT) -l .) && if [ -n "$$found" ]; then echo "not formatted by gofumpt: $$found" >&2; exit 1; fi
	@echo go fix -diff ./...
	@found=$$($(GO) fix -diff ./... 2>&1); if [ -n "$$found" ]; then echo "$$found" >&2; exit 1; fi
	$(GO) mod tidy -diff
	$(TEST) -run '^TestHouse' ./e2e

race: ## the packages of the product under the race detector (needs gcc)
	CGO_ENABLED=1 $(TEST) -race -timeout 20m $(PRODUCT)

interop: ## clients of other families against the built binary; installs them under .interop/
	scripts/interop-install
	$(TEST) -tags interop -timeout 25m -run '^TestInterop' ./e2e

parity: ## the same requests to Apache Kafka and to chronik, answers compared
	$(TEST) -tags parity -timeout 25m -run '^TestParity' ./e2e/parity

rounds: ## full counts, for two hours: 20 rounds of kill -9, 10 each of power cut of one node and of all (needs root, strace), all stories of three nodes, a million updates compacted, all planted bugs; 50 ends of a leader in each of its roles, under clients of four families
	CHRONIK_ROUNDS=full $(TEST) -v -timeout 120m -run '^(TestKillRounds|TestPowerCut|TestDiskFull|TestCompaction|TestCluster|TestPlantedBugs)' \
		-skip '^TestClusterFailover$$' ./e2e
	scripts/interop-install
	CHRONIK_ROUNDS=full $(TEST) -v -tags interop -timeout 120m -run '^TestInteropClusterFailover$$' ./e2e

chaos: ## writers and consumers for DURATION while FAULTS strike NODES nodes; what they saw is checked
	CHAOS_DURATION=$(DURATION) CHAOS_FAULTS=$(FAULTS) CHAOS_NODES=$(NODES) CHAOS_REPLICAS=$(REPLICAS) CHAOS_SEED=$(SEED) \
		$(TEST) -v -timeout 0 -run '^TestChaos$$' ./e2e

fuzz: ## every fuzz target for FUZZTIME each
	FUZZTIME=$(FUZZTIME) scripts/fuzz $(V)

bench: build ## the rows of the benchmark table on fresh nodes, into bench/results.md: about half an hour
	$(GO) run ./e2e/bench $(BENCHFLAGS)

bench-kafka: build ## the same rows, Apache Kafka beside it: about an hour and a half (needs Java 17 and mvn)
	$(if $(KAFKA),,e2e/kafka/kafka.sh fetch)
	$(GO) run ./e2e/bench -kafka $(or $(KAFKA),run) $(if $(KAFKA_PID),-kafka-pid $(KAFKA_PID)) $(BENCHFLAGS)

soak: build ## 50 MB/s for DURATION with retention on; p99 by the minute, memory, disk; fails when a record is lost
	$(GO) run ./e2e/bench -soak $(DURATION)

microbench: ## Go benchmarks of the hot paths, COUNT times, for benchstat
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 60m $(PRODUCT)

clean: ## remove what was built and installed here; data directories stay
	rm -rf bin .interop .parity
