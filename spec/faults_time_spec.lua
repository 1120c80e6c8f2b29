--- FAULTS B, what needs more than one slow answer: memory under a slow loris (row 20),
-- exact idle times (21), the default timeouts at their true scale, by a clock that runs
-- a hundred times as fast (22 to 24), and a wall clock that jumps (27).

local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local peak = require "spec.support.peak"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local A = play.text "a"

describe("faults of time:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("row 20: a slow loris costs no memory: byte by byte, for long", function()
    local head, body, done = ("X-Slow: 12345678\r\n"):rep(900), (": slow\n\n"):rep(30000), false
    local function drip()
      return play.run(function(_, response)
        response:raw("HTTP/1.1 200 OK\r\n", 1):raw(head .. "\r\n", 1):raw(A):raw(body, 1)
        done = true
      end, { new = { timeouts = { content_idle = 0.3 } } })
    end
    local first = drip()
    play.failed(first, "timeout", nil, "a")
    assert.equal("content_idle", first.err.phase)
    local base = peak.start()
    for _ = 1, 3 do drip() end
    assert.is_true(done)
    if base then assert.is_true(peak.above(base) < 2e6, peak.above(base)) end
  end)

  it("row 21: silence after some tokens is content_idle within a tenth of its time", function()
    local err, seconds
    local server = assert(testing.server(function(_, response) response:raw(play.HEAD .. A) end))
    local stream = play.session(server, { timeouts = { content_idle = 1 } }):stream "hello"
    assert.equal("a", stream:next())
    local start = core.now()
    err = select(3, stream:next())
    seconds = core.now() - start
    assert.equal("timeout", err.kind)
    assert.equal("content_idle", err.phase)
    assert.equal("a", err.partial.text)
    assert.is_true(seconds >= 0.9 and seconds <= 1.1, seconds)
    server:close()
  end)
end)

-- What stands before libc in a child: FAST: a monotonic clock a hundred times as fast;
-- else a wall clock an hour ahead, right, and an hour behind, by turns.
local CLOCK = [[
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long jump(void) {
  static long n;
#ifdef FAST
  return 0;
#endif
  return (n++ % 3 - 1) * 3600;
}
int clock_gettime(clockid_t id, struct timespec *t) {
  int r = (int)syscall(SYS_clock_gettime, id, t);
  if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) {
    t->tv_sec += jump();
  } else {
#ifdef FAST
    static time_t from;
    if (!from) from = t->tv_sec;
    long long ns = (t->tv_sec - from) * 1000000000LL + t->tv_nsec;
    t->tv_sec = from + ns / 10000000;
    t->tv_nsec = ns % 10000000 * 100;
#endif
  }
  return r;
}
int gettimeofday(struct timeval *restrict t, void *restrict zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
]]

local HEAD = [[
local chat, core, testing = require "oaichat", require "oaichat.core", require "oaichat.testing"
local HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
local A = 'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
local END = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
local function session(answer, opts)
  local server = testing.server(answer)
  opts.base_url, opts.model, opts.api_key = server.url, "m", false
  return chat.new(opts), server
end
]]

local JUMPY = [[
local a, b = os.time(), os.time()
print("it jumps", math.abs(os.time() - b) > 3000 or math.abs(b - a) > 3000)
local function timed(name, low, high, fn)
  local start = core.now()
  local what = fn()
  local took = core.now() - start
  print(name, what, took >= low and took <= high and "in time" or took)
end
local function stream(answer, opts)
  local reply, _, err = session(answer, opts):stream("x"):result()
  return reply and reply.text or err.phase
end
timed("silence", 0.5, 0.6, function()
  return stream(function(_, r) r:raw(HEAD .. A) end, { timeouts = { content_idle = 0.5 } })
end)
timed("slow", 0.45, 0.8, function()
  return stream(function(_, r)
    r:raw(HEAD)
    for _ = 1, 10 do r:raw(A):pause(0.05) end
    r:raw(END):close()
  end, { timeouts = { content_idle = 0.3 } })
end)
timed("deadline", 0.4, 0.5, function() return stream(function() end, { deadline = 0.4 }) end)
timed("retry", 0.3, 0.45, function()
  return session(function(q, r)
    if q.number > 1 then return r:json(200, testing.completion "good") end
    r:json(429, {}, { ["retry-after-ms"] = "300" })
  end, {}):send("x").text
end)
timed("sleep", 0.2, 0.3, function() return chat.spawn(function() chat.sleep(0.2) return "slept" end):wait() end)
]]

-- Nobody sleeps: the kernel's timers do not know that clock.
local FAST = [[
local servers = {}
local wall, quick = os.time(), core.now()
local function play(name, low, high, answer)
  local s, server = session(answer, {})
  servers[#servers + 1] = server
  local start = core.now()
  s:stream("x", { on_done = function(reply, _, err)
    local took = core.now() - start
    print(name, reply and #reply.text or err.phase, took >= low and took <= high and "in time" or took)
  end })
end
play("keep-alive for ever", 115, 135, function(_, r)
  r:raw(HEAD .. A)
  for _ = 1, 100 do r:pause(5):raw ": keep-alive\n\n" end
end)
play("90 s of thinking", 90, 105, function(_, r)
  r:raw(HEAD)
  for _ = 1, 18 do r:pause(5):raw ": thinking\n\n" end
  r:raw(A .. END):close()
end)
play("a token a second", 600, 640, function(_, r)
  r:raw(HEAD)
  for _ = 1, 600 do r:pause(1):raw(A) end
  r:raw(END):close()
end)
while chat.pending() > 0 do
  for _, server in ipairs(servers) do server:step() end
  chat.step()
end
print("it is fast", (core.now() - quick) / (os.time() - wall) > 50)
]]

describe("the clock:", function()
  local interpreter = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d%.%d"

  local function write(name, text)
    local file = assert(io.open(name, "w"))
    file:write(text)
    file:close()
    return name
  end

  local function output_of(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read "*a"
    pipe:close()
    return text
  end

  -- What the script says behind that clock; nil where none can be put before libc.
  local function behind(flags, script)
    local name = os.tmpname()
    local source, library, program = name .. ".c", name .. ".so", name .. ".lua"
    write(source, CLOCK)
    write(program, ("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath) .. HEAD .. script)
    local built = output_of(("cc -shared -fPIC %s -o %s %s 2>&1 && echo built"):format(flags, library, source))
    local said = output_of(('LD_PRELOAD="$LD_PRELOAD:%s" timeout 60 %s %s 2>&1'):format(library, interpreter, program))
    for _, one in ipairs { name, source, library, program } do os.remove(one) end
    if not built:find "^built" or said:find "it %a+ ?%a*\tfalse" then return nil end
    return said
  end

  it("row 27: the wall clock's jumps of an hour have no effect", function()
    local said = behind("", JUMPY)
    if not said then return pending "no library can be put before libc here" end
    assert.equal("it jumps\ttrue\nsilence\tcontent_idle\tin time\nslow\taaaaaaaaaa\tin time\n"
      .. "deadline\ttotal\tin time\nretry\tgood\tin time\nsleep\tslept\tin time\n", said)
  end)

  it("rows 22, 23, 24: the default timeouts, at their true scale", function()
    local said = behind("-DFAST", FAST)
    if not said then return pending "no library can be put before libc here" end
    assert.equal("90 s of thinking\t1\tin time\nkeep-alive for ever\tcontent_idle\tin time\n"
      .. "a token a second\t600\tin time\nit is fast\ttrue\n", said)
  end)
end)
