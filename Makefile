# `make test` is what CI runs on a clean checkout. It installs what it needs: packages as root or through `sudo -n`,
# else it prints the one command to run and fails. `ACCEPT_DIFF=1 make test` rewrites golden files.

CARGO ?= cargo
PACKAGES = shellcheck:shellcheck kubernetes-client:kubectl $(PODMAN) $(NODE) openssh-server:/usr/sbin/sshd openssh-client:ssh-keygen
# Without recommended packages Podman brings none of these, and says so late and elsewhere.
PODMAN = podman:podman runc:/usr/sbin/runc conmon:conmon netavark:/usr/lib/podman/netavark \
	aardvark-dns:/usr/lib/podman/aardvark-dns iptables:/usr/sbin/iptables catatonit:catatonit busybox-static:busybox

# What a real kubelet needs beside the control plane's program.
NODE = containerd:containerd containernetworking-plugins:/usr/lib/cni/bridge iproute2:ip

# Suites that wait for containers, nodes, servers and processes most of the time; all others compute. One of these at a time
# beside the others uses two cores well; more disturb each other.
WAITING = engine cluster kubelet cli_files demo operator_image stand_in_runner killed_listener
COMPUTING = $(filter-out $(WAITING),$(basename $(notdir $(wildcard tests/*.rs))))

.PHONY: test lint demo bench tools deny suites suite-computing $(WAITING:%=suite-%)

test: tools lint deny
	$(CARGO) test --locked --no-run
	@echo "running the suites side by side; each is shown when it ends"
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target suites

# Cargo is not told of make's own job slots: it takes no part in them.
suites: suite-computing $(WAITING:%=suite-%)

$(WAITING:%=suite-%): suite-%:
	MAKEFLAGS= $(CARGO) test --locked --test $*

ifeq ($(ACCEPT_DIFF),1)
# What is rewritten is part of the program and of other suites.
$(WAITING:%=suite-%): suite-computing
endif

# With what the others leave of the machine: computing has no time limits.
suite-computing:
	MAKEFLAGS= nice -n 10 $(CARGO) test --locked --no-fail-fast --lib --bins $(COMPUTING:%=--test %)
	MAKEFLAGS= nice -n 10 $(CARGO) test --locked --doc

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	shellcheck templates/scripts/*.sh scripts/*.sh

# Licences, sources and banned crates. Advisories need the network: `cargo deny check advisories`.
deny:
	scripts/dependencies.sh

# Shows the main job end to end, on a Podman of its own; `make demo KEEP=1` keeps it running.
demo:
	@scripts/install-packages.sh $(PODMAN)
	$(CARGO) build --locked
	target/debug/deskrun demo $(if $(KEEP),--keep)

bench:
	$(CARGO) bench --locked

# Packages, and what is built once into the cache directory: minutes for the control plane.
tools:
	@scripts/install-packages.sh $(PACKAGES)
	@scripts/control-plane.sh >/dev/null
	@scripts/helm.sh >/dev/null
