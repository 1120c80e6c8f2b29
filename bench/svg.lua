--- bench/svg: draws bar charts and line plots as static SVG text, readable on light and dark pages.
--
--   svg.bars { title =, desc =, note =, groups = { { name = "one stream", note =,
--     bars = { { name = "oaichat", value = 1.8, note = "0.5 us", own = true }, … } }, … } }
--   svg.plots { title =, desc =, plots = { { name =, series = { { name =, points = { { x, y }, … } }, … },
--     x = { name =, log = true, text = function(number) … end, ticks = { … } }, y = { name =, … } }, … } }
--
-- Bars are ratios on a logarithmic scale, and grow from the line at 1, the limit. The first
-- series of a plot is drawn in grey, as what the others are measured by.

local M = {}

local STYLE = [[
<style>
text{font-family:system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328;font-size:12px}
.title{font-size:15px;font-weight:600}.name{font-weight:600}.dim{fill:#59636e;font-size:11px;font-weight:400}
.paper{fill:#fff;stroke:#d1d9e0}.grid{stroke:#e3e7eb}.axis{stroke:#59636e}
.own{fill:#0969da}.other{fill:#a5afba}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.s1{stroke:#6e7781}.s2{stroke:#0969da}.s3{stroke:#bc4c00}.s4{stroke:#1a7f37}.s5{stroke:#8250df}
.m1{fill:#6e7781}.m2{fill:#0969da}.m3{fill:#bc4c00}.m4{fill:#1a7f37}.m5{fill:#8250df}
@media (prefers-color-scheme:dark){
text{fill:#f0f6fc}.dim{fill:#9198a1}.paper{fill:#0d1117;stroke:#3d444d}.grid{stroke:#2a313c}.axis{stroke:#9198a1}
.own{fill:#4493f8}.other{fill:#656c76}
.s1{stroke:#9198a1}.s2{stroke:#4493f8}.s3{stroke:#f0883e}.s4{stroke:#3fb950}.s5{stroke:#ab7df8}
.m1{fill:#9198a1}.m2{fill:#4493f8}.m3{fill:#f0883e}.m4{fill:#3fb950}.m5{fill:#ab7df8}
}
</style>]]

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escape(text)
  return (tostring(text):gsub('[&<>"]', ENTITIES))
end

-- ---- the sheet -------------------------------------------------------------------------

local Sheet = {}
Sheet.__index = Sheet

local function new_sheet(chart)
  return setmetatable({ lines = {}, title = chart.title, desc = chart.desc or chart.title }, Sheet)
end

function Sheet:add(format, ...)
  self.lines[#self.lines + 1] = format:format(...)
end

-- With a note behind it, if any, in a fainter hand.
function Sheet:text(x, y, text, class, anchor, note)
  self:add('<text x="%.1f" y="%.1f"%s%s>%s%s</text>', x, y, class and (' class="%s"'):format(class) or "",
    anchor and (' text-anchor="%s"'):format(anchor) or "", escape(text),
    note and ('<tspan class="dim" dx="8">%s</tspan>'):format(escape(note)) or "")
end

function Sheet:line(class, x1, y1, x2, y2)
  self:add('<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>', class, x1, y1, x2, y2)
end

-- The whole picture, with its text for those who do not see it.
function Sheet:finish(width, height)
  local head = {
    ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" %s>'):format(
      width, height, width, height, 'aria-labelledby="title desc"'),
    ('<title id="title">%s</title>'):format(escape(self.title)),
    ('<desc id="desc">%s</desc>'):format(escape(self.desc)),
    STYLE,
    ('<rect class="paper" x="0.5" y="0.5" width="%d" height="%d" rx="8"/>'):format(width - 1, height - 1),
  }
  return table.concat(head, "\n") .. "\n" .. table.concat(self.lines, "\n") .. "\n</svg>\n"
end

-- About how wide a text is.
local function width_of(text, size)
  local _, letters = tostring(text):gsub("[^\128-\191]", "")
  return letters * size * 0.56
end

-- ---- scales ----------------------------------------------------------------------------

local function log10(x) return math.log(x) / math.log(10) end

local function plain(number)
  if number >= 1e6 then return ("%gM"):format(number / 1e6) end
  if number >= 1e4 then return ("%gk"):format(number / 1e3) end
  return ("%.4g"):format(number)
end

-- The largest 1, 2 or 5 times a power of ten that is not above; `up`: the least not below.
local function round_number(value, up)
  local power = 10 ^ math.floor(log10(value) + 1e-9)
  local rest, best = value / power, nil
  for _, step in ipairs { 1, 2, 5, 10 } do
    if up and rest <= step + 1e-9 then return step * power end
    if not up and rest >= step - 1e-9 then best = step end
  end
  return best * power
end

local function log_ticks(low, high)
  local decades, list = log10(high / low), {}
  local steps = decades <= 2.5 and { 1, 2, 5 } or { 1 }
  for power = math.floor(log10(low) + 1e-9), math.ceil(log10(high) - 1e-9) do
    for _, step in ipairs(steps) do
      local tick = step * 10 ^ power
      if tick >= low * 0.999 and tick <= high * 1.001 then list[#list + 1] = tick end
    end
  end
  return list
end

local function linear_ticks(high)
  local step, list = round_number(high / 4, true), {}
  for i = 0, math.ceil(high / step - 1e-9) do list[#list + 1] = i * step end
  return list
end

-- A scale: at(value) is a place between from and to, ticks what is marked.
local function new_scale(axis, low, high, from, to)
  local scale = { text = axis.text or plain }
  if axis.log then
    low, high = axis.low or round_number(low), axis.high or round_number(high, true)
    scale.ticks = axis.ticks or log_ticks(low, high)
    local span = math.log(high / low)
    function scale.at(value) return from + (to - from) * math.log(value / low) / span end
  else
    scale.ticks = axis.ticks or linear_ticks(high)
    high = math.max(high, scale.ticks[#scale.ticks])
    function scale.at(value) return from + (to - from) * value / high end
  end
  return scale
end

-- ---- bars ------------------------------------------------------------------------------

local WIDTH, MARGIN, BAR, GAP = 860, 20, 18, 16

local function range_of_bars(groups)
  local low, high, longest = 1, 2, 0
  for _, group in ipairs(groups) do
    for _, bar in ipairs(group.bars) do
      low, high = math.min(low, bar.value), math.max(high, bar.value)
      longest = math.max(longest, width_of(bar.name, 12))
    end
  end
  return low, high, longest
end

local function ratio_text(value)
  return ("%.3g×"):format(value)
end

local function draw_bar(sheet, bar, scale, top)
  local from, to = scale.at(math.min(1, bar.value)), scale.at(math.max(1, bar.value))
  if to - from < 2 then from, to = from - 1, from + 1 end
  sheet:text(scale.left - 8, top + 13, bar.name, bar.own and "name" or nil, "end")
  sheet:add('<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%d" rx="2"/>', bar.own and "own" or "other", from,
    top + 2, to - from, BAR - 4)
  sheet:text(to + 6, top + 13, ratio_text(bar.value), bar.own and "name" or nil, nil, bar.note)
end

local function draw_grid(sheet, scale, top, bottom)
  for _, tick in ipairs(scale.ticks) do
    sheet:line(tick == 1 and "axis" or "grid", scale.at(tick), top, scale.at(tick), bottom)
  end
end

local function draw_group(sheet, group, scale, top)
  sheet:text(MARGIN, top + 13, group.name, "name", nil, group.note)
  top = top + BAR + 2
  draw_grid(sheet, scale, top, top + #group.bars * BAR)
  for i, bar in ipairs(group.bars) do draw_bar(sheet, bar, scale, top + (i - 1) * BAR) end
  return top + #group.bars * BAR + GAP
end

local function rows_of(groups)
  local height = 0
  for _, group in ipairs(groups) do height = height + BAR + 2 + #group.bars * BAR + GAP end
  return height - GAP
end

--- A bar chart: groups of bars, each a ratio to the limit.
--- @param chart table see above
--- @return string svg
function M.bars(chart)
  local sheet, low, high, longest = new_sheet(chart), range_of_bars(chart.groups)
  local left, top = MARGIN + longest + 8, 64
  local bottom = top + rows_of(chart.groups) + 8
  local scale = new_scale({ log = true }, low, high, left, WIDTH - 150)
  scale.left = left
  sheet:text(MARGIN, 28, chart.title, "title")
  sheet:text(MARGIN, 46, chart.note or "1× is the limit", "dim")
  for _, group in ipairs(chart.groups) do top = draw_group(sheet, group, scale, top) end
  for _, tick in ipairs(scale.ticks) do
    sheet:text(scale.at(tick), bottom + 12, ratio_text(tick), "dim", "middle")
  end
  return sheet:finish(WIDTH, bottom + 28)
end

-- ---- plots -----------------------------------------------------------------------------

local PLOT_W, PLOT_H, SPACE, HEAD, FOOT = 216, 200, 62, 92, 52
local MARKS = {
  '<circle class="m1" cx="%.1f" cy="%.1f" r="3.5"/>',
  '<path class="m2" d="M%.1f %.1fm-3.5 -3.5h7v7h-7z"/>',
  '<path class="m3" d="M%.1f %.1fm0 -4.5l4.5 8h-9z"/>',
  '<path class="m4" d="M%.1f %.1fm0 -4.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z"/>',
  '<path class="m5" d="M%.1f %.1fm-3 -4.5h6l3 4.5l-3 4.5h-6l-3 -4.5z"/>',
}

local function range_of(series, column)
  local low, high = math.huge, 0
  for _, one in ipairs(series) do
    for _, point in ipairs(one.points) do
      low, high = math.min(low, point[column]), math.max(high, point[column])
    end
  end
  return low, high
end

local function draw_axes(sheet, plot, x, y, left, top)
  local right, bottom = left + PLOT_W, top + PLOT_H
  for _, tick in ipairs(y.ticks) do
    sheet:line("grid", left, y.at(tick), right, y.at(tick))
    sheet:text(left - 6, y.at(tick) + 4, y.text(tick), "dim", "end")
  end
  for _, tick in ipairs(x.ticks) do
    sheet:line("axis", x.at(tick), bottom, x.at(tick), bottom + 4)
    sheet:text(x.at(tick), bottom + 17, x.text(tick), "dim", "middle")
  end
  sheet:line("axis", left, bottom, right, bottom)
  sheet:text(left - 40, top - 30, plot.name, "name")
  sheet:text(left - 40, top - 13, plot.y.name, "dim")
  sheet:text((left + right) / 2, bottom + 36, plot.x.name, "dim", "middle")
end

local function draw_series(sheet, points, index, x, y)
  local class, places = (index - 1) % #MARKS + 1, {}
  for i, point in ipairs(points) do places[i] = ("%.1f,%.1f"):format(x.at(point[1]), y.at(point[2])) end
  sheet:add('<polyline class="line s%d" points="%s"/>', class, table.concat(places, " "))
  for _, point in ipairs(points) do sheet:add(MARKS[class], x.at(point[1]), y.at(point[2])) end
end

local function draw_plot(sheet, plot, left, top)
  local x_low, x_high = range_of(plot.series, 1)
  local y_low, y_high = range_of(plot.series, 2)
  if plot.x.log then plot.x.low, plot.x.high = plot.x.low or x_low, plot.x.high or x_high end
  local x = new_scale(plot.x, x_low, x_high, left + 6, left + PLOT_W - 8)
  local y = new_scale(plot.y, y_low, y_high, top + PLOT_H, top)
  draw_axes(sheet, plot, x, y, left, top)
  for i, one in ipairs(plot.series) do draw_series(sheet, one.points, i, x, y) end
end

-- One legend for all the plots: their series have the same names.
local function draw_legend(sheet, series, left, top)
  for i, one in ipairs(series) do
    local class = (i - 1) % #MARKS + 1
    sheet:add('<polyline class="line s%d" points="%.1f,%.1f %.1f,%.1f"/>', class, left, top - 4, left + 24, top - 4)
    sheet:add(MARKS[class], left + 12, top - 4)
    sheet:text(left + 30, top, one.name)
    left = left + 50 + width_of(one.name, 12)
  end
end

--- Line plots side by side.
--- @param chart table see above
--- @return string svg
function M.plots(chart)
  local sheet = new_sheet(chart)
  local top, step = HEAD + 22, PLOT_W + SPACE
  sheet:text(MARGIN, 28, chart.title, "title")
  draw_legend(sheet, chart.plots[1].series, MARGIN, 52)
  for i, plot in ipairs(chart.plots) do draw_plot(sheet, plot, MARGIN + 40 + (i - 1) * step, top) end
  return sheet:finish(MARGIN * 2 + 40 + #chart.plots * step - SPACE + 10, top + PLOT_H + FOOT)
end

return M
