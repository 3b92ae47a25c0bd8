# make run, make test: these two need only Go. `make help` lists the rest.
GO ?= go
# V=-v prints every test; FUZZTIME is the time of each fuzz target.
V ?=
FUZZTIME ?= 5m

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT = mvdan.cc/gofumpt@v0.12.0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS = -X chronik/cli.version=$(VERSION) -X chronik/cli.commit=$(COMMIT)

# The packages that build the product; e2e drives the built binary.
PRODUCT = $(shell $(GO) list ./... | grep -v '^chronik/e2e')
TEST = $(GO) test -count=1 $(V)

.PHONY: help build run test check race interop parity rounds fuzz bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

build: ## bin/chronik
	@mkdir -p bin
	$(GO) build -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/chronik .

run: build ## one broker on localhost:9092, data in ./chronik-data
	bin/chronik start

test: ## all tests that need only Go (at most 15 minutes on two cores)
	$(TEST) -timeout 6m $(PRODUCT)
	$(TEST) -timeout 12m ./e2e/...

check: ## vet, staticcheck, gofumpt, go fix, go mod tidy, the rules of the house
	$(GO) vet ./...
	$(GO) vet -tags interop,parity ./e2e/...
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

rounds: ## full counts: 20 rounds of kill -9, 10 of power cut (needs root)
	CHRONIK_ROUNDS=full $(TEST) -v -timeout 60m -run '^(TestKillRounds|TestPowerCut|TestDiskFull)' ./e2e

fuzz: ## every fuzz target for FUZZTIME each
	FUZZTIME=$(FUZZTIME) scripts/fuzz $(V)

bench: build ## benchmark rows against a fresh broker, printed as a table
	scripts/bench

clean: ## remove what was built and installed here; data directories stay
	rm -rf bin .interop .parity
