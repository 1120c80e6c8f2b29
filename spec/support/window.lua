--- window: how much lies in the fullest window of a list of times.

--- @param times number[] seconds; sorted here
--- @param per number the length of a window
--- @return integer the most times in any half-open window of that length
return function(times, per)
  table.sort(times)
  local most, first = 0, 1
  for last = 1, #times do
    while times[last] - times[first] >= per do first = first + 1 end
    most = math.max(most, last - first + 1)
  end
  return most
end
