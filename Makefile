# oaichat: build, test, demo. `make help` lists the targets.
#
# One interpreter a build: LUA=lua5.4 (the default), luajit, lua5.1, lua5.2,
# lua5.3. Everything built lands in build/<abi>/, sanitizer builds in
# build-asan/<abi>/; lua5.1 and luajit share the ABI 5.1.

LUA     ?= lua5.4
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
PKG_CONFIG ?= pkg-config

ROOT := $(CURDIR)

# The ABI of the well-known names needs no interpreter; any other is asked.
ABI_luajit := 5.1
ABI_lua5.1 := 5.1
ABI_lua5.2 := 5.2
ABI_lua5.3 := 5.3
ABI_lua5.4 := 5.4
ABI_lua5.5 := 5.5
ABI := $(or $(ABI_$(LUA)),$(shell $(LUA) -e \
  'io.write((_VERSION:match "%d+%.%d+"))' 2>/dev/null))

ifeq ($(ABI),)
  $(error LUA=$(LUA): no such interpreter here)
endif

ifeq ($(SANITIZE),1)
  OUT    := build-asan/$(ABI)
  OPT    ?= -O1 -g -fno-omit-frame-pointer
  SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all
else
  OUT    := build/$(ABI)
  OPT    ?= -O2
  SANFLAGS :=
endif

# PORTABLE=1 (also from the environment): the path for platforms without epoll and
# kqueue, where there is no descriptor for a host loop.
ifeq ($(PORTABLE),1)
  OUT := build-portable/$(ABI)
  PLATFORM := -DOAI_PORTABLE -DOAI_LISTEN_POLL
endif

# Warnings are errors in CI only: a newer compiler must not stop a user.
ifneq ($(filter 1 true,$(CI)),)
  WERROR ?= 1
endif

LUA_CFLAGS ?= $(shell PKG_CONFIG='$(PKG_CONFIG)' sh scripts/luaflags.sh $(LUA) $(ABI))
CURL_CFLAGS ?= $(shell $(PKG_CONFIG) --cflags libcurl 2>/dev/null)
CURL_LIBS ?= $(or $(shell $(PKG_CONFIG) --libs libcurl 2>/dev/null),-lcurl)

WARN    := -Wall -Wextra -Wpedantic -Werror=implicit-function-declaration $(if $(filter 1,$(WERROR)),-Werror)
CFLAGS  ?=
ALL_CFLAGS = -std=c99 -D_GNU_SOURCE -fPIC -fvisibility=hidden $(WARN) $(OPT) \
  $(SANFLAGS) $(PLATFORM) $(CURL_CFLAGS) $(CFLAGS)
LIBS    := $(CURL_LIBS) -lpthread -ldl -lm

ifeq ($(shell uname -s),Darwin)
  SHARED := -bundle -undefined dynamic_lookup
else
  SHARED := -shared
endif

SOURCES   := $(wildcard src/*.c)
OBJECTS   := $(SOURCES:src/%.c=$(OUT)/obj/%.o)
CORE      := $(OUT)/oaichat/core.so
LUA_FILES := $(shell find lua -name '*.lua' -not -path '*/meta/*' 2>/dev/null)
META      := $(shell find lua -path '*/meta/*.lua' 2>/dev/null)

# The C tests: pure C, always under the sanitizers; torture_lua alone has Lua, 5.4.
TESTS   := $(patsubst spec/%_test.c,build-asan/c/%_test,$(wildcard spec/*_test.c))
PURE    := $(filter-out src/core.c src/core_%.c,$(SOURCES))
PURE_OBJECTS := $(PURE:src/%.c=build-asan/c/obj/%.o)
C_FLAGS = -std=c99 -D_GNU_SOURCE $(WARN) -O1 -g -fno-omit-frame-pointer \
  -fsanitize=address,undefined -fno-sanitize-recover=all -Isrc \
  $(CURL_CFLAGS) $(CFLAGS)

# The final ;; keeps the interpreter's own paths. ./?.so is never among ours: a
# stray build of another Lua version there dies with "undefined symbol".
LUA_PATH_VALUE  := $(ROOT)/lua/?.lua;$(ROOT)/lua/?/init.lua;;
LUA_CPATH_VALUE := $(ROOT)/$(OUT)/?.so;;
WITH_PATHS = LUA_PATH='$(LUA_PATH_VALUE)' LUA_CPATH='$(LUA_CPATH_VALUE)'

# V=1 shows the commands.
Q   := $(if $(filter 1,$(V)),,@)
say := @$(if $(filter 1,$(V)),:,$(if $(findstring s,$(firstword -$(MAKEFLAGS))),:,echo))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

##@ Start here
.PHONY: demo
demo: ## Chat in this terminal; needs no key (set OPENAI_API_KEY to talk to OpenAI)
	@sh scripts/deps.sh demo >&2
	@$(MAKE) -s all >&2 </dev/null
	@$(WITH_PATHS) $(LUA) examples/chat.lua

.PHONY: test
test: ## Everything: C tests under sanitizers, specs on lua5.4 and luajit, smoke elsewhere
	@sh scripts/deps.sh test
	@sh scripts/test.sh all

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@printf '\nVariables: LUA=%s PREFIX=%s DESTDIR WERROR=1 SANITIZE=1 V=1 CC CFLAGS\n' \
	  '$(LUA)' '$(PREFIX)'

##@ Build
.PHONY: all
all: $(CORE) ## build/<abi>/oaichat/core.so for LUA
	@:

$(CORE): $(OBJECTS)
	@mkdir -p $(@D)
	$(say) '  LD    $@'
	$(Q)$(CC) $(SHARED) $(SANFLAGS) -o $@ $(OBJECTS) $(LDFLAGS) $(LIBS)

$(OUT)/obj/core.o $(OUT)/obj/core_%.o: ALL_CFLAGS += $(LUA_CFLAGS)

$(OUT)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(say) '  CC    $@'
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

.PHONY: install
install: all ## Into PREFIX (and DESTDIR), where LUA looks
	install -d '$(DESTDIR)$(PREFIX)/lib/lua/$(ABI)/oaichat'
	install -m 755 $(CORE) '$(DESTDIR)$(PREFIX)/lib/lua/$(ABI)/oaichat/core.so'
	@for f in $(LUA_FILES:lua/%=%) $(META:lua/%=%); do \
	  to='$(DESTDIR)$(PREFIX)/share/lua/$(ABI)'/$$f; \
	  install -d "$${to%/*}" && install -m 644 lua/$$f "$$to" || exit 1; \
	done
	@echo 'oaichat for Lua $(ABI) is in $(DESTDIR)$(PREFIX)'

.PHONY: uninstall
uninstall: ## Removes what install put there
	rm -rf '$(DESTDIR)$(PREFIX)/lib/lua/$(ABI)/oaichat' \
	  '$(DESTDIR)$(PREFIX)/share/lua/$(ABI)/oaichat'

.PHONY: nvim
nvim: ## For a plugin checkout: core.so beside the Lua files, where Neovim looks
	@$(MAKE) LUA=luajit SANITIZE= all
	install -m 755 build/5.1/oaichat/core.so lua/oaichat/core.so

.PHONY: path cpath
path: ## Prints a LUA_PATH for this checkout
	@printf '%s\n' '$(LUA_PATH_VALUE)'
cpath: ## Prints a LUA_CPATH for this checkout and LUA
	@printf '%s\n' '$(LUA_CPATH_VALUE)'

##@ Test, one part at a time
.PHONY: test-c
test-c: ## The C tests, under ASan and UBSan
	@sh scripts/test.sh c

.PHONY: test-specs
test-specs: ## The specs on LUA (FILES="spec/json_spec.lua" for some of them)
	@LUA='$(LUA)' SANITIZE='$(SANITIZE)' sh scripts/test.sh specs $(FILES)

.PHONY: smoke
smoke: ## One exchange on every other interpreter that is installed
	@sh scripts/test.sh smoke

.PHONY: test-valgrind
test-valgrind: ## Mixed exchanges on lua5.4 under valgrind
	@sh scripts/test.sh valgrind

# What never waits for a socket runs the same on both paths.
POLLED_SPECS := $(filter-out spec/schema% spec/json% spec/history% spec/prompt% spec/partial% \
  spec/transcript% spec/config% spec/tokens% spec/window% spec/architecture% spec/rockspec% \
  spec/docs% spec/examples% spec/demo% spec/cache% spec/budget% spec/ledger% spec/prices% spec/circuit% \
  spec/limiter_redis% spec/faults_page% spec/testing_docs%,$(wildcard spec/*_spec.lua))

.PHONY: polled-specs
polled-specs:
	@echo $(POLLED_SPECS)

.PHONY: test-portable
test-portable: ## The specs on the path without epoll and kqueue
	@PORTABLE=1 QUICK=1 LUA='$(LUA)' sh scripts/test.sh specs $(or $(FILES),$(POLLED_SPECS))

.PHONY: test-steady
test-steady: ## Requests against OpenAI's own specification, schemas against ajv
	@sh scripts/test.sh steady

.PHONY: test-hosts
test-hosts: ## The adapters in Neovim, LOVE, cqueues, luv, copas and a C program
	@sh scripts/deps.sh hosts
	@sh scripts/hosts.sh

.PHONY: c-tests
c-tests: $(TESTS)

build-asan/c/%_test: spec/%_test.c $(PURE_OBJECTS)
	@mkdir -p $(@D)
	$(say) '  CC    $@'
	$(Q)$(CC) $(C_FLAGS) -MMD -MP -o $@ $< $(PURE_OBJECTS) $(LDFLAGS) $(LIBS)

FACE_OBJECTS := $(patsubst src/%.c,build-asan/c/obj/%.o,$(filter-out $(PURE),$(SOURCES)))
$(FACE_OBJECTS) build-asan/c/torture_lua_test: C_FLAGS += $(shell \
  PKG_CONFIG='$(PKG_CONFIG)' sh scripts/luaflags.sh lua5.4 5.4)
build-asan/c/torture_lua_test: $(FACE_OBJECTS)
build-asan/c/torture_lua_test: PURE_OBJECTS += $(FACE_OBJECTS)
build-asan/c/torture_lua_test: LIBS += $(or $(shell $(PKG_CONFIG) --libs lua5.4 \
  2>/dev/null),-llua5.4)

build-asan/c/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(say) '  CC    $@'
	$(Q)$(CC) $(C_FLAGS) -MMD -MP -c -o $@ $<

.PRECIOUS: build-asan/c/obj/%.o $(OUT)/obj/%.o

# MAKE in the environment: the script builds the C tests that it runs.
.PHONY: faults
faults: all ## Each row of the fault table -> spec -> result; writes docs/FAULTS.md
	@MAKE='$(MAKE)' $(WITH_PATHS) $(LUA) scripts/faults.lua $(ROWS)

.PHONY: endpoints
endpoints: all ## The table of the client's endpoints in docs/API.md
	@$(WITH_PATHS) $(LUA) scripts/endpoints.lua

##@ Measure
.PHONY: soak
soak: all ## 10,000 exchanges through providers that misbehave by a seed (N=, SEED=); timeouts at true scale, 10 min
	@$(WITH_PATHS) $(LUA) spec/hosts/soak.lua $(or $(N),10000) $(or $(SEED),1)
	@$(WITH_PATHS) $(LUA) spec/hosts/phases.lua

build/bench/%: bench/%.c $(wildcard bench/*.h)
	@mkdir -p $(@D)
	$(say) '  CC    $@'
	$(Q)$(CC) -std=c99 -D_GNU_SOURCE $(WARN) -O2 $(CURL_CFLAGS) $(CFLAGS) -o $@ $< $(LDFLAGS) $(BENCH_LIBS)

build/bench/limit: BENCH_LIBS = $(CURL_LIBS)
# Static: what it takes to start is counted as the client's. Where there is no
# static libc it is as the others.
build/bench/start: BENCH_LIBS = $(shell echo 'int main(void){return 0;}' | $(CC) -static -x c -o /dev/null - 2>/dev/null && echo -static)

.PHONY: bench-tools bench-builds
bench-builds:
	@for lua in lua5.4 luajit; do \
	  if command -v $$lua >/dev/null; then $(MAKE) -s LUA=$$lua SANITIZE= all || exit 1; fi; \
	done

bench-tools: $(patsubst bench/%.c,build/bench/%,$(wildcard bench/*.c))

.PHONY: bench
bench: bench-tools bench-builds ## CPU and memory against bare libcurl (ROUNDS=5 SCENARIOS="S1c S4" CLIENTS= RUNS=file)
	@$(WITH_PATHS) ROUNDS='$(ROUNDS)' SCENARIOS='$(SCENARIOS)' CLIENTS='$(CLIENTS)' RUNS='$(RUNS)' $(LUA) bench/own.lua

.PHONY: ratchet ratchet-update ratchet-run
ratchet: bench-tools ## Instructions a chunk, a request, a turn, memory a stream: not 3 % above what is kept
	@sh scripts/deps.sh valgrind
	@$(MAKE) -s LUA=lua5.4 SANITIZE= ratchet-run
ratchet-update: bench-tools ## Keeps what is measured now
	@$(MAKE) -s LUA=lua5.4 SANITIZE= ratchet-run UPDATE=update
ratchet-run: all
	@$(WITH_PATHS) $(LUA) bench/ratchet.lua $(UPDATE)

.PHONY: bench-growth bench-tls bench-transfer bench-peers charts
bench-growth: bench-tools bench-builds ## Against the number of streams, the size of an event, the length of a conversation; draws docs/growth.svg
	@$(WITH_PATHS) $(LUA) bench/growth.lua $(or $(ROUNDS),5)

bench-tls: bench-tools bench-builds ## 100 streams over TLS, fresh and kept connections, HTTP/1.1 and HTTP/2 (needs nginx)
	@$(WITH_PATHS) $(LUA) bench/tls.lua $(or $(ROUNDS),3)

bench-transfer: all ## 1 GiB up and down: what it holds in memory (MIB= for another size)
	@$(WITH_PATHS) $(LUA) bench/transfer.lua $(or $(MIB),1024)

bench-peers: ## The same as bench beside other clients (needs ../shared/bench)
	@sh bench/run.sh

charts: all ## The table of RUNS (lines of bench or bench-peers), docs/performance.svg and the short one
	@$(WITH_PATHS) $(LUA) bench/table.lua $(RUNS) build/bench/results.json
	@$(WITH_PATHS) $(LUA) bench/chart.lua build/bench/results.json
	@$(WITH_PATHS) $(LUA) bench/chart.lua build/bench/results.json docs/performance-short.svg \
	  "one stream, 50 chunks a write" "requests in a row" "a turn of a long conversation"

##@ Quality
.PHONY: check
check: ## clang-format, cppcheck, luacheck: zero warnings
	@sh scripts/check.sh

.PHONY: check-windows
check-windows: ## Every C file compiles for Windows (mingw-w64)
	@sh scripts/windows.sh

.PHONY: format
format: ## clang-format in place
	clang-format -i $(shell find src spec bench -name "*.[ch]")

.PHONY: picture
picture: ## docs/demo.svg, recorded from a real run of the demo
	@$(MAKE) -s all
	@$(WITH_PATHS) $(LUA) scripts/record.lua docs/demo.svg

.PHONY: clean
clean: ## Removes what was built
	rm -rf build build-asan build-portable lua/oaichat/core.so oaichat src/*.o

-include $(OBJECTS:.o=.d) $(PURE_OBJECTS:.o=.d) $(FACE_OBJECTS:.o=.d) $(TESTS:=.d)
