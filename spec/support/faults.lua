--- faults: the faults that oaichat promises to survive, by number, and which spec keeps
-- which: a title that begins with "row 7: " or "rows 7, 9: ", of a describe, an it or
-- a C test, claims these rows. scripts/faults.lua runs them and writes docs/FAULTS.md.

local M = {}

M.GROUPS = {
  { 1, "Connect and transport" }, { 19, "Time" }, { 28, "HTTP status and headers" }, { 52, "Framing of event streams" },
  { 72, "What chunks hold" }, { 90, "Requests" }, { 98, "Memory, size, decompression" },
  { 106, "Rate limits and cool-down" }, { 112, "Histories and sessions" }, { 119, "Secrets and output" },
}

M.ROWS = {
  "the connection is refused",
  "the host's name is unknown",
  "a SYN is never answered",
  "TLS: expired, signed by itself, another host's",
  "the TLS handshake stalls",
  "closed without a byte",
  "reset before the headers",
  "reset after some tokens",
  "a clean end without finish_reason and [DONE]",
  "an end or silence after finish_reason, no [DONE]",
  "[DONE], and the socket stays open",
  "the body is cut",
  "content-length too long, after [DONE]",
  "413 while we still upload",
  "HTTP/2: GOAWAY, RST_STREAM",
  "a kept connection is dead",
  "Expect: 100-continue is never answered",
  "the proxy refuses",
  "headers never come",
  "slow loris: a byte now and then",
  "silence after some tokens",
  "nothing but keep-alive comments, for ever",
  "long thinking: comments, then tokens",
  "a token a second for minutes",
  "a callback blocks",
  "cancel, from anywhere",
  "the wall clock jumps",
  "400, 401, 403, 404, 422",
  "408, 409, 429, 500, 502, 503, 504, 529",
  "x-should-retry",
  "Retry-After: seconds, milliseconds, both",
  "Retry-After: a date",
  "Retry-After: 0, negative, garbage, huge",
  "Retry-After: an hour",
  "429 insufficient_quota",
  "x-ratelimit-reset",
  "200 with a login page",
  "an event stream under another label",
  "a whole completion for a stream request",
  "200 with a JSON error",
  "204, or 200 with nothing",
  "502 in HTML",
  "errors of every JSON shape",
  "a redirect to the same origin",
  "a redirect elsewhere",
  "a redirect from https to http",
  "a redirect to file:, ftp:, 169.254.169.254",
  "a redirect loop",
  "400 kB of headers, 10,000 lines",
  "a header with NUL, 8-bit bytes, folds",
  "1xx answers",
  "any split of the bytes",
  "LF, CRLF, CR",
  "a byte order mark",
  "data: with no space, two, a tab, no colon",
  "several data: lines in one event",
  "comments of every kind",
  "unknown fields, strange id: and retry:",
  "an error: line",
  "event: error",
  "pings",
  "a last event without its blank line",
  "forms of [DONE]",
  "what only looks like [DONE]",
  "data after [DONE]",
  "events without data",
  "invalid UTF-8",
  "NUL in data",
  "one event of 8 MB",
  "a line, an event without an end",
  "100,000 tiny events in one read",
  "data that is not JSON",
  "an error after tokens",
  "choices, delta, content missing or null",
  "usage: none, last, every chunk",
  "finish_reason: never, twice, unknown",
  "finish_reason length, content_filter",
  "refusals",
  "reasoning under its many names",
  "tool calls: every kind of index",
  "tool calls: id, name, type missing or late",
  "tool calls: every kind of arguments",
  "unknown tools, ids twice, 500 calls",
  "n > 1",
  "a surrogate pair over two deltas",
  "a lone surrogate, NUL in text",
  "duplicate keys, huge and exact numbers",
  "JSON 100,000 deep, 200 MB of [",
  "Infinity, NaN, hex, comments",
  "API keys with blanks, line ends, nothing",
  "headers, model, organisation with CR, LF, NUL",
  "base_url with userinfo, blanks, no scheme",
  "empty tables: {} or []",
  "cycles, functions, NaN, holes in a message",
  "invalid UTF-8 in a message",
  "a message of 50 MB",
  "a retry after the server took the request",
  "a gzip bomb",
  "other bombs, six encodings, cut data",
  "an endless body",
  "malloc fails at every call in turn",
  "10,000 streams, half of them canceled",
  "collected, closed, lua_close with open streams",
  "errors, yields, requests in callbacks",
  "fork, SIGPIPE, EINTR, fd >= 1024, EMFILE",
  "50 clients against a limit of 10/s",
  "Redis: down, slow, restarted, busy",
  "two machines, clocks 5 s apart",
  "a key cooled down while streams run",
  "all targets cooling",
  "limits of 0, negative, never enough",
  "kill -9 at every write",
  "disk full, EIO, read-only",
  "torn, damaged, empty files",
  "two processes save one conversation",
  "hostile ids and links",
  "a crash in the middle of a stream",
  "a call without a result, then the next turn",
  "secrets in logs, errors, strings, stores",
  "the provider echoes the key",
  "secrets in a malformed chunk",
  "text that commands the terminal",
  "hostile schemas",
  "structured output of the wrong shape",
}

--- Rows that a platform forbids: number -> the call that fails.
M.UNKEPT = {}

--- The rows that a title claims, and its words behind them; nil when it claims none.
--- @param title string
--- @return integer[]|nil rows, string words
function M.claims(title)
  local numbers, words = title:match "^rows? ([%d, ]*%d): ?(.*)$"
  if not numbers then return nil, title end
  local rows = {}
  for number in numbers:gmatch "%d+" do rows[#rows + 1] = tonumber(number) end
  return rows, words
end

--- As it stands in a Markdown table.
function M.markdown(text)
  return (text:gsub("[%c]", " "):gsub("[\\|*_`]", "\\%0"):gsub("<", "&lt;"))
end

--- The titles that a source's text holds as literals. `whole`: nothing is put in, or behind.
--- @param source string
--- @return { rows: integer[], words: string, whole: boolean }[]
function M.literals(source)
  local out = {}
  for text, behind in source:gmatch '"(rows? [%d, ]*%d:[^"\n]*)"%s*(.?)' do
    local rows, words = M.claims(text)
    if rows then
      out[#out + 1] = { rows = rows, words = words, whole = not text:find "[%%\\]" and behind:find "[,)}]" ~= nil }
    end
  end
  return out
end

return M
