---@meta oaichat.core
--- LuaLS definitions of the C module. Never loaded; core_spec.lua holds its names
--- against the live module.

---@class oaichat.core
local core = {}

---@class oaichat.core.Failure what the C core knows of a failure
---@field kind string see oaichat.Error
---@field code string|nil
---@field status integer|nil
---@field type string|nil the provider's error type
---@field param string|nil
---@field phase string|nil
---@field detail string|nil the provider's words: masked, cut at 300 bytes, escaped
---@field retryable boolean

--- The engine of this Lua state, or a new one.
---@param fresh? boolean
---@return oaichat.core.Engine
function core.engine(fresh) end

--- A session of the core: an endpoint with its key, deadlines (seconds) and caps.
---@param options { base_url: string, api_key?: string|false, wire?: "chat"|"responses"|"anthropic"|"raw"|"json", path?: string, headers?: table<string, string>, timeouts?: table<string, number>, limits?: table<string, number>, allow_http?: boolean, ca_file?: string, proxy?: string, unix_socket?: string, client_cert?: string, client_key?: string, resolve?: string[], http2?: boolean, redirects?: boolean, key_of?: oaichat.core.Session, key_header?: string, key_env?: string, key_env_url?: string, key_later?: boolean, engine?: oaichat.core.Engine }
---@return oaichat.core.Session|nil session
---@return string|nil message
---@return table|nil err kind "config"
function core.new(options) end

--- What a body says went wrong.
---@param status integer
---@param body string
---@param session oaichat.core.Session|nil whose key is masked
---@return oaichat.core.Failure
function core.api_error(status, body, session) end

--- All of an answer of which Exchange:plain told the text.
---@param wire string its name: "chat"
---@param body string
---@return oaichat.core.Reply reply without its timing
function core.answer_of(wire, body) end

--- A parser of text/event-stream (WHATWG HTML 9.2.6).
---@param options? { max_event_bytes?: integer } 16e6 by default
---@return oaichat.core.Sse
function core.sse(options) end

--- A listener on loopback or a unix socket, for demos and tests.
---@param options? { host?: string, port?: integer, path?: string }
---@return oaichat.core.Listener|nil listener
---@return string|nil message
function core.listen(options) end

---@return number seconds on the monotonic clock, which a test may have frozen
function core.now() end

--- The clock of this Lua state: deadlines, pauses and core.now go by it.
---@return oaichat.core.Clock
function core.clock() end

---@param fd integer
---@return boolean
function core.isatty(fd) end

--- RFC 4648, section 4.
---@param bytes string
---@return string
function core.base64(bytes) end

--- What base64 made; strict (RFC 4648, section 4): no blanks, padding as it must be.
--- @param text string
--- @return string|nil bytes nil: not base64
function core.unbase64(text) end

--- SHA-256 (FIPS 180-4) as 64 hexadecimal digits.
--- @param bytes string
--- @return string
function core.sha256(bytes) end

--- Numbers of 32 bits (IEEE 754, the lowest byte first) in base64, as embeddings come.
---@param text string
---@return number[]|nil
function core.floats(text) end

--- RFC 2104.
--- @param key string
--- @param bytes string
--- @return string sum 32 bytes
function core.hmac_sha256(key, bytes) end

--- Compares two strings in a time that says nothing of where they differ.
--- @return boolean
function core.same(a, b) end

--- How many requests and tokens may go out in `per` seconds; burst: the part of a
--- bucket that may go at once.
---@param rule { requests?: number, tokens?: number, per?: number, window?: boolean, burst?: number }
---@return oaichat.core.Limit
function core.limit(rule) end

--- Unpredictable bytes of the system's generator, as hexadecimal digits.
--- @param n integer bytes, 1 to 64
--- @return string
function core.random(n) end

--- What is not UTF-8 becomes U+FFFD.
--- @param bytes string
--- @return string
function core.utf8_repair(bytes) end

---@return string curl, string|nil tls versions in use
function core.curl_version() end

--- ECMA-262 with the u flag, as JSON Schema's `pattern`, in linear time. No
--- lookaround, no backreferences; see src/regex.h.
---@param pattern string
---@return oaichat.core.Regex|nil regex, string|nil message
function core.regex(pattern) end

--- Token counts by byte-pair encoding; see src/bpe.h. Without the bytes of a .tiktoken
--- file it estimates. Raises for another name.
---@param name "o200k_base"|"cl100k_base"
---@param ranks? string the file's bytes
---@return oaichat.core.Bpe|nil encoder, string|nil message which line is wrong
function core.bpe(name, ranks) end

--- C objects that are not closed, by class name.
---@return table<string, integer>
function core.live() end

--- Behind oaichat.json.
---@param text string
---@param max_depth? integer
---@return any value, string|nil message, integer|nil position, string|nil code
function core.json_decode(text, max_depth) end

---@param value any
---@param max_depth? integer
---@param in_pieces? boolean a long text comes as a list
---@return string|string[]|nil text, string|nil message, string|nil path
function core.json_encode(value, max_depth, in_pieces) end

---@param value any
---@return boolean
function core.json_is_array(value) end

--- Unix time, to the microsecond where the system has it.
---@return number seconds
function core.time() end

--- The file system as a journal sees it: private files, no links followed.
---@type oaichat.core.file
core.file = nil

---@type lightuserdata
core.json_null = nil
---@type table
core.json_array_mt = nil
---@type table
core.json_object_mt = nil
---@type table
core.json_markers = nil

---@class oaichat.core.Clock
local Clock = {}
--- Time stands still, and skips to what is due next when an engine that waits has
--- heard nothing for so long.
---@param idle? number real seconds, 0.001 by default
function Clock:freeze(idle) end
--- Time goes on from where it stands.
function Clock:thaw() end
---@return boolean
function Clock:frozen() end
--- Skips to what is due next.
---@return boolean skipped false: nothing is ahead
function Clock:skip() end

---@class oaichat.core.Engine
local Engine = {}
---@return integer|nil descriptor readable while there is work
function Engine:fd() end
---@return number|nil seconds until step has timed work; nil: none
function Engine:timeout() end
--- Does what is due; never sleeps.
---@param budget? number seconds
function Engine:step(budget) end
--- Sleeps until there is work or something to pull.
---@param seconds? number
function Engine:wait(seconds) end
---@return integer
function Engine:transfers() end
--- The id of the next thing that is ready, taken off the list.
---@return lightuserdata|nil
function Engine:pop() end
--- At most n connections to one host; what is more waits for a free one.
---@param n integer 0: no limit
function Engine:host_limit(n) end
--- What may be handed out from now on.
---@param seconds? number nil: no limit
function Engine:budget(seconds) end
---@return boolean the budget is used up
function Engine:spent() end
---@param seconds number
---@return oaichat.core.Timer
function Engine:timer(seconds) end
--- Ready while one of the two is; each can be in one of them at a time.
---@param a oaichat.core.Exchange|oaichat.core.Timer
---@param b oaichat.core.Exchange|oaichat.core.Timer
---@return oaichat.core.Either
function Engine:either(a, b) end
--- wait also ends when fd is readable.
---@param fd integer
---@return boolean
function Engine:watch(fd) end
---@param fd integer
---@return boolean
function Engine:unwatch(fd) end
function Engine:close() end

---@class oaichat.core.Session
local Session = {}
--- Starts an exchange for a whole answer.
---@param body string|string[]
---@param options? { timeouts?: table<string, number>, deadline?: number, headers?: table<string, string>, method?: "GET"|"POST"|"PUT"|"PATCH"|"DELETE", path?: string, form?: { name: string, value?: string, data?: string, path?: string, filename?: string, type?: string, offset?: integer, size?: integer }[], pull?: boolean, resumable?: boolean, resume?: oaichat.core.Exchange } form: multipart/form-data in place of the body; pull: the body is handed out as "data"; POST and the session's path by default; GET and DELETE without a body are sent without one
---@return oaichat.core.Exchange|nil exchange, string|nil message, table|nil err
function Session:send(body, options) end
--- Starts an exchange for events.
---@param body string|string[]
---@param options? table as for send
---@return oaichat.core.Exchange|nil exchange, string|nil message, table|nil err
function Session:stream(body, options) end
---@return string "scheme://host:port"
function Session:origin() end
--- What a limit, a cool-down and a circuit belong to: SHA-256 over base URL, key and model.
---@param model string
---@return string 64 hexadecimal digits
function Session:identity(model) end
--- Another key, for what is sent from now on.
---@param key string
---@return boolean|nil changed, string|nil message, table|nil err
function Session:set_key(key) end
---@return boolean
function Session:has_key() end
function Session:close() end

---@class oaichat.core.Exchange one attempt
local Exchange = {}
--- What came next, or nothing when nothing is there now.
---@return "text"|"reasoning"|"refusal"|"tool_call"|"usage"|"finish"|"progress"|"chunk"|"data"|nil kind
---@return any ... see core_exchange.c
function Exchange:next() end
---@return string|nil piece of the first choice's text
---@return true|nil over there is no more
function Exchange:text() end
--- From now on next gives the events' raw data; on the raw wire it does so from the
--- start: "chunk", data, name|nil, id|nil, retry (ms)|nil.
function Exchange:chunks() end
--- Reads and drops what there is.
---@return boolean done
function Exchange:drain() end
--- The same, for who wants the text of a whole answer: one that is the text of one choice
--- and no more is told in short; the rest of it is read when somebody asks (core.answer_of,
--- Exchange:result).
---@return string|false|nil text false: not done; nil: done, and no such answer
---@return string|nil finish_reason
---@return string|nil model
---@return string|nil id
---@return string|nil body
---@return string|nil head the lines of its header
---@return number|nil connect seconds
---@return number|nil first_byte
---@return number|nil total
---@return number|nil at the time now, as core.time() tells
function Exchange:plain() end
---@return boolean something can be pulled
function Exchange:ready() end
--- Sleeps until something happened on the engine, and does it.
---@param seconds? number
---@return boolean ready
function Exchange:wait(seconds) end
---@return string|nil lines of the final answer's header; nil: they repeat the key
---@return number|nil at the time now, as core.time() tells
function Exchange:head() end
---@return boolean done ended, and nothing is left to pull
function Exchange:done() end
--- The reply so far, whole without a failure. Raises before the end. On the raw wire
--- it has status and body: all bytes but those of a stream's events.
---@return table reply, oaichat.core.Failure|nil failure
function Exchange:result() end
---@return lightuserdata what engine:pop() gives when there is something to pull
function Exchange:id() end
--- Who pulled leaves the rest for a later engine:pop().
---@return lightuserdata id
function Exchange:relist() end

---The endpoint has another key by now than this was sent with.
---@return boolean
function Exchange:rekeyed() end
--- Ends it; the socket is closed at once.
function Exchange:cancel() end
---@param name string
---@return string|nil value of the final answer's header
function Exchange:header(name, ...) end

---@param prefix string in lower case
---@return table<string, string>|nil headers of the final answer whose names begin so: the rest of the name -> value
function Exchange:headers(prefix, ...) end
--- Of one that has failed: whether another attempt is worth it.
---@param attempts integer made so far, this one included
---@param idempotent? boolean the server knows the attempts for one
---@return number|nil seconds to wait; nil: no
---@return number|nil asked seconds that the server asked for
function Exchange:retry(attempts, idempotent, resumes) end
--- Bytes; nil: not known.
---@return integer|nil sent, integer|nil to_send, integer|nil received, integer|nil to_receive
function Exchange:progress() end
function Exchange:close() end

--- Closes it, unless the end of a whole answer is still awaited for its connection.
function Exchange:done_with() end

---@class oaichat.core.Timer
local Timer = {}
---@return lightuserdata what engine:pop() gives when it goes off
function Timer:id() end
---@return boolean its time has come
function Timer:ready() end
---@param seconds? number
---@return boolean ready
function Timer:wait(seconds) end
--- Its time has come now.
function Timer:fire() end
function Timer:close() end

---@class oaichat.core.Either
local Either = {}
---@return lightuserdata what engine:pop() gives when one of them is ready
function Either:id() end
---@return boolean one of them is, or it was canceled
function Either:ready() end
--- What is left of it comes in a later engine:pop().
---@return lightuserdata id
function Either:relist() end
---@param seconds? number
---@return boolean ready
function Either:wait(seconds) end
--- Ready from now on; the two are left alone.
function Either:cancel() end
---@return boolean
function Either:canceled() end
function Either:close() end

---@class oaichat.core.Limit
local Limit = {}
---@param now number seconds, of any monotonic clock
---@param tokens number
---@return number|nil seconds 0: it may go and is counted; nil: never
function Limit:take(now, tokens) end
---@param now number
---@param requests number
---@param tokens number
---@return number seconds until so much can have gone, never too long
function Limit:eta(now, requests, tokens) end
--- Counted at `at` and not used; less than 0: used besides.
---@param now number
---@param at number
---@param requests number
---@param tokens number
function Limit:give_back(now, at, requests, tokens) end
--- What the server says is left, and for how many seconds.
---@param now number
---@param kind "requests"|"tokens"
---@param left number
---@param reset number
function Limit:learn(now, kind, left, reset) end
function Limit:close() end

---@class oaichat.core.Sse
local Sse = {}
---@param bytes string
---@return oaichat.core.Sse|nil parser nil once an event passes the cap
---@return string|nil message, table|nil err
function Sse:feed(bytes) end
---@return string|nil data, string|nil event nil = "message"
---@return string|nil id, number|nil retry ms
function Sse:next() end
--- The event that the end of the stream cut before its blank line.
---@return string|nil data, string|nil event, string|nil id, number|nil retry
function Sse:finish() end
function Sse:close() end

---@class oaichat.core.Listener
local Listener = {}
---@return integer
function Listener:port() end
---@return integer|nil
function Listener:fd() end
---@return number|nil seconds
function Listener:timeout() end
--- Does what is due; never sleeps.
function Listener:step() end
---@return oaichat.core.Peer|nil a new connection
function Listener:accept() end
---@return oaichat.core.Peer|nil the next with something to read
function Listener:ready() end
function Listener:close() end

---@class oaichat.core.Peer
local Peer = {}
---@return string|nil bytes "" none yet, nil the client closed its side
function Peer:read() end
---@param bytes string
---@param piece? integer bytes a step
function Peer:write(bytes, piece) end
---@param seconds number
function Peer:pause(seconds) end
---@param on boolean stops reading
function Peer:hold(on) end
function Peer:shutdown() end
function Peer:reset() end
function Peer:abort() end
function Peer:close() end
---@return integer
function Peer:pending() end
---@return boolean
function Peer:closed() end

---@class oaichat.core.Regex not counted by core.live()
local Regex = {}
--- Whether the text has a match.
---@param text string
---@param steps? integer 5e7 by default
---@return boolean|nil found nil: it takes more steps
---@return number|string steps_or_message
function Regex:test(text, steps) end
function Regex:close() end

---@class oaichat.core.Bpe not counted by core.live()
local Bpe = {}
---@param text string any bytes; special tokens are plain text
---@return integer tokens, boolean estimated
function Bpe:count(text) end
--- Raises when it has no ranks.
---@param text string
---@return integer[] ranks
function Bpe:encode(text) end
---@return integer bytes of memory it holds
function Bpe:size() end
function Bpe:close() end

--- A failure is nil, a reason and the errno's name ("ENOSPC"; "ENOTREG": no
--- regular file, or a link, is in its place). On Windows all fail with "ENOSYS".
---@class oaichat.core.file
local file = {}

---@param path string
---@param mode "read"|"write"|"create"|"ensure" write: it is there; create: it is not; ensure: either. All but read also write; new files have mode 0600
---@return oaichat.core.File|nil file, string|nil reason, string|nil code
function file.open(path, mode) end
---@return true|nil ok, string|nil reason, string|nil code
function file.rename(from, to) end
---@return true|nil ok, string|nil reason, string|nil code
function file.remove(path) end
--- Makes one directory, with mode 0700.
---@return boolean|nil made false: a directory is there
---@return string|nil reason, string|nil code
function file.mkdir(path) end
--- Returns when the names in a directory are on the disk.
---@return true|nil ok, string|nil reason, string|nil code
function file.sync_dir(path) end
---@return { size: integer, mode: integer, kind: "file"|"directory"|"link"|"other" }|nil facts, string|nil reason, string|nil code
function file.stat(path) end
---@return string[]|nil names in no order, string|nil reason, string|nil code
function file.list(path) end
--- CRC-32 as in zlib (ISO 3309).
---@param bytes string
---@return string digits 8 hexadecimal ones
function file.crc32(bytes) end

---@class oaichat.core.File
local File = {}
---@param offset integer bytes, from 0
---@param n integer
---@return string|nil bytes fewer at the end of the file only
---@return string|nil reason, string|nil code
function File:read(offset, n) end
--- On a failure any part may have been written.
---@return true|nil ok, string|nil reason, string|nil code
function File:write(offset, bytes) end
---@return integer|nil bytes, string|nil reason, string|nil code
function File:size() end
---@return true|nil ok, string|nil reason, string|nil code
function File:truncate(size) end
--- Returns when data and size are on the disk.
---@return true|nil ok, string|nil reason, string|nil code
function File:sync() end
--- flock; ends with close and with the process. Sleeps up to so many seconds.
---@param kind "shared"|"exclusive"
---@param seconds number
---@return true|nil ok, string|nil reason, string|nil code "EWOULDBLOCK": not free
function File:lock(kind, seconds) end
---@param path string
---@return boolean|nil same the path leads to this file
---@return string|nil reason, string|nil code
function File:same(path) end
function File:close() end

return core
