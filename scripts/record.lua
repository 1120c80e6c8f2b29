-- Records a run of the demo in a real terminal and writes it as an SVG.
--   make picture          or: lua5.4 scripts/record.lua docs/demo.svg
-- Needs script(1) of util-linux. The keys below are typed into `make demo`; what
-- comes back is drawn by a terminal of the simplest kind (text, newline,
-- backspace, SGR colours). The SVG plays once; a viewer without animation, or a
-- reader who wants less motion, sees the last picture.

local TARGET = arg[1] or "docs/demo.svg"
local COMMAND = arg[2] or "make -s demo"
local COLUMNS = 78
local TYPED = {
  { wait = 1.2, text = "hello, I'm Ada" },
  { wait = 5.2, text = "I am sad" },
  { wait = 6.4, text = "because my tests are red" },
  { wait = 3.4, text = "how many r's are in strawberry?" },
  { wait = 4.0, text = "what do you remember about me?" },
}
local LAST_WAIT = 5.5

local CELL_W, CELL_H, MARGIN, BAR = 8.4, 19, 16, 30
local PALETTE = { ["36"] = "#56b6c2", ["35"] = "#c678dd", ["31"] = "#e06c75", ["32"] = "#98c379", ["33"] = "#e5c07b" }
local INK, DIM, PAPER = "#d7dae0", "#7f848e", "#1e2127"

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Recording -------------------------------------------------------------------

local function typist()
  local parts = {}
  local function add(format, ...) parts[#parts + 1] = format:format(...) end
  for _, line in ipairs(TYPED) do
    add("sleep %g", line.wait)
    for letter in line.text:gmatch "." do
      add("printf %%s %s; sleep 0.045", quoted(letter))
    end
    add "sleep 0.25; printf '\\r'"
  end
  add("sleep %g", LAST_WAIT)
  return table.concat(parts, "; ")
end

-- List of { time, text } as the terminal received it.
local function record()
  local out, timing = os.tmpname(), os.tmpname()
  local run = ("stty cols %d rows 40; PS1= TERM=xterm-256color exec %s"):format(COLUMNS, COMMAND)
  local command = ("( %s ) | env -u NO_COLOR -u OPENAI_API_KEY -u OPENAI_BASE_URL script -q -e -c %s "
    .. "--log-out %s --log-timing %s --logging-format classic >/dev/null"):format(typist(), quoted(run), out, timing)
  os.execute(command)

  local file = assert(io.open(out, "rb"))
  local bytes = file:read "*a"
  file:close()
  -- script(1) writes a header line of its own.
  bytes = bytes:gsub("^Script started[^\n]*\n", "")
  local events, at, time = {}, 1, 0
  for line in io.lines(timing) do
    local delay, n = line:match "^([%d%.]+) (%d+)"
    if delay then
      time = time + tonumber(delay)
      events[#events + 1] = { time = time, text = bytes:sub(at, at + n - 1) }
      at = at + n
    end
  end
  os.remove(out)
  os.remove(timing)
  return events
end

-- The terminal ------------------------------------------------------------------

-- Rows of runs: { time, x, text, style }. A letter is never moved once written.
local function play(events)
  local rows, row, column = { {} }, 1, 0
  local style = { color = INK, bold = false }
  local pending = ""

  local function newline()
    row, column = row + 1, 0
    rows[row] = rows[row] or {}
  end

  local function put(letter, time)
    if column >= COLUMNS then newline() end
    local runs = rows[row]
    local last = runs[#runs]
    if last and last.time == time and last.style == style and last.x + last.n == column then
      last.text, last.n = last.text .. letter, last.n + 1
    else
      runs[#runs + 1] = { time = time, x = column, n = 1, text = letter, style = style }
    end
    column = column + 1
  end

  local function sgr(codes)
    style = { color = style.color, bold = style.bold }
    for code in (codes == "" and "0" or codes):gmatch "%d+" do
      if code == "0" then
        style.color, style.bold = INK, false
      elseif code == "1" then
        style.bold = true
      elseif code == "2" then
        style.color = DIM
      else
        style.color = PALETTE[code] or style.color
      end
    end
  end

  for _, event in ipairs(events) do
    local text = pending .. event.text
    pending = ""
    local i = 1
    while i <= #text do
      local codes, after = text:match("^\27%[([%d;]*)m()", i)
      local letter = text:match("^[%z\1-\127\194-\244][\128-\191]*", i)
      local lead = text:byte(i)
      local size = lead < 128 and 1 or lead < 224 and 2 or lead < 240 and 3 or 4
      if codes then
        sgr(codes)
        i = after
      elseif lead == 27 and text:find("^\27%[[%d;?]*%a", i) then
        i = select(2, text:find("^\27%[[%d;?]*%a", i)) + 1
      elseif lead == 27 or i + size - 1 > #text then
        pending = text:sub(i)
        break
      elseif letter == "\n" then
        newline()
        i = i + 1
      elseif letter == "\r" then
        column = 0
        i = i + 1
      elseif letter == "\8" then
        column = math.max(0, column - 1)
        i = i + 1
      elseif lead < 32 then
        i = i + 1
      else
        put(letter or "?", event.time)
        i = i + (letter and #letter or 1)
      end
    end
  end
  return rows
end

-- Words do not break at the edge of a real terminal's line either way; the
-- picture only drops the empty rows at the end.
local function trim(rows)
  while #rows > 1 and #rows[#rows] == 0 do rows[#rows] = nil end
  return rows
end

-- The picture -------------------------------------------------------------------

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }

local function render(rows)
  local width = COLUMNS * CELL_W + 2 * MARGIN
  local height = #rows * CELL_H + MARGIN + BAR + 10
  local out = {}
  local function add(format, ...) out[#out + 1] = format:format(...) end

  local start = math.huge
  for _, runs in ipairs(rows) do
    for _, run in ipairs(runs) do start = math.min(start, run.time) end
  end

  add('<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" viewBox="0 0 %g %g" role="img">',
    width, height, width, height)
  add "<title>make demo: a chat with the offline bot, streamed word by word</title>"
  add "<style>"
  add("text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}")
  add "@keyframes a{from{visibility:hidden}to{visibility:visible}}"
  add ".r{animation:a 1ms steps(1,end) both}.b{font-weight:bold}"
  add "@media (prefers-reduced-motion:reduce){.r{animation:none}}"
  add "</style>"
  add('<rect width="%g" height="%g" rx="8" fill="%s"/>', width, height, PAPER)
  for i, color in ipairs { "#e06c75", "#e5c07b", "#98c379" } do
    add('<circle cx="%g" cy="17" r="5.5" fill="%s"/>', MARGIN + 4 + (i - 1) * 19, color)
  end
  add('<text x="%g" y="21" text-anchor="middle" fill="%s">make demo</text>', width / 2, DIM)
  for y, runs in ipairs(rows) do
    for _, run in ipairs(runs) do
      if run.text:find "%S" then
        -- The width is said, so that no font can shift the columns.
        add('<text class="r%s" style="animation-delay:%.2fs" x="%.1f" y="%g" fill="%s" textLength="%.1f"'
          .. ' xml:space="preserve">%s</text>', run.style.bold and " b" or "", run.time - start,
          MARGIN + run.x * CELL_W, BAR + y * CELL_H, run.style.color, run.n * CELL_W,
          (run.text:gsub("[&<>]", ENTITIES)))
      end
    end
  end
  add "</svg>"
  return table.concat(out, "\n") .. "\n"
end

local rows = trim(play(record()))
local svg = render(rows)
assert(#rows > 5, "the recording is empty: is script(1) of util-linux here?")
local file = assert(io.open(TARGET, "w"))
file:write(svg)
file:close()
print(("%s: %d rows, %d bytes"):format(TARGET, #rows, #svg))
