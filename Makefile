# `make` alone prints this help.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X example.com/library/internal/cli.version=$(VERSION)

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build static programs into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

run: build ## start the library on an embedded server, as instance worker1, and its page (HTTP=localhost:8081)
	bin/lendingd --embedded --http $(or $(HTTP),localhost:8080) worker1

man: build ## make manual pages and completions in bin/man and bin/completions
	@mkdir -p bin/man bin/completions
	bin/getbooks man-page >bin/man/getbooks.1
	bin/lendingd man-page >bin/man/lendingd.8
	for shell in bash zsh fish; do for program in getbooks lendingd; do \
		bin/$$program completion $$shell >bin/completions/$$program.$$shell || exit 1; done; done

screenshot: ## make docs/page.png, the picture of the live page, in Chromium
	go test ./proof/browser -count=1 -run '^TestScreenshot$$' -screenshot $(CURDIR)/docs/page.png

test: ## run all tests, on a real redis-server too where the machine has one
	@command -v redis-server >/dev/null || [ "$$CI" = true ] || \
		echo 'No redis-server here: everything that needs a real one is left out; "apt-get install redis-server" brings it.'
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || [ "$$CI" = true ] || \
		echo 'No Chromium here: the tests of the live page in a browser are left out; "apt-get install chromium" brings it.'
	go test -timeout 1h ./...

race: ## run all tests with the race detector
	go test -race -timeout 1h ./...

cluster-test: ## tell the stories on a Redis Cluster, and kill masters under load (2 minutes)
	cd cmd && go test -tags cluster -count=1 -timeout 10m -run '^TestCluster'

simulate: ## play the library with faults in virtual time, by SEEDS=10000 seeds from FROM=1
	go test ./proof/simulation -count=1 -timeout 0 -v -run '^TestSeeds$$' -seeds $(or $(SEEDS),10000) -from $(or $(FROM),1)

servers: ## run the tests on each Redis and Valkey that Debian has (ONLY=redis/trixie SHORT=1 OPS=5000)
	SHORT=$(SHORT) OPS=$(OPS) .ci/servers $(ONLY)

chaos: ## torment workers, Redis and the network under load, and check every answer (OPS=5000 SEED=7)
	go test ./proof/chaos -count=1 -v -timeout 3h -ops $(or $(OPS),5000) -seed $(or $(SEED),0) -limits

guarantees: ## measure what survives which death, and write docs/guarantees.md (7 minutes; ROUNDS=3)
	cd proof/guarantees && go test -count=1 -parallel 3 -timeout 30m -run '^TestEveryWayOfRunning$$' -rounds $(or $(ROUNDS),3) -write ../../docs/guarantees.md

every-byte: ## cut the append-only file of each script's step at every byte, and start Redis on it (20 minutes)
	go test -count=1 -timeout 1h -run AppendOnlyFile ./scripts -every-byte

histories: ## play random histories on Redis and on the embedded server, and compare (N=1000 FROM=0)
	go test -count=1 -timeout 1h -run AHistory ./scripts -histories $(or $(N),1000) -history $(or $(FROM),0)

museum: ## play every exhibit of the museum, and write docs/museum.md
	go test ./lessons/museum -count=1 -run '^TestThePage' -write

lint: ## check formatting, vet, staticcheck, the scripts' headers, and that go.mod is tidy, in bench/ too
	@test -z "$$(gofmt -l .)" || { echo 'not formatted (gofmt -w):'; gofmt -l .; exit 1; }
	go vet ./...
	go vet -tags cluster ./cmd
	go tool staticcheck ./...
	go tool staticcheck -tags cluster ./cmd
	go test -run Header ./scripts
	go mod tidy -diff
	cd bench && go vet ./... && go tool -modfile=../go.mod staticcheck ./... && go mod tidy -diff

bench: ## measure speed, memory and storage against the targets (15 minutes; ONLY=latency,idle N=200000 ROUNDS=3)
	cd bench && go run . -n $(or $(N),200000) -rounds $(or $(ROUNDS),3) $(if $(ONLY),-only $(ONLY),-write ../docs/performance.md)

mutants: ## break one guarantee after another, and show which suite notices (40 minutes; ONLY=fence,limit SUITES=scripts)
	go run ./proof/mutants $(if $(ONLY),-only $(ONLY)) $(if $(SUITES),-suites $(SUITES)) $(if $(ONLY)$(SUITES),,-write docs/proof.md)

.PHONY: help build run man screenshot test race cluster-test servers simulate chaos guarantees every-byte histories mutants museum lint bench
.DEFAULT_GOAL := help
