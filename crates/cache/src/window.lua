-- A shared rate limit whose whole minute may be taken at once (sliding window): see lease.rs.
-- KEYS[1]: the limit. ARGV: seconds that a grant counts, per_minute, want, at_least.
-- Kept: what was granted, by second.
local key = KEYS[1]
local counts, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local want, least = tonumber(ARGV[3]), tonumber(ARGV[4])

local time = redis.call('TIME')
local second, micros = tonumber(time[1]), tonumber(time[2])

local seconds, taken = {}, 0
local kept = redis.pcall('GET', key)
if type(kept) == 'string' then
  for at, n in string.gmatch(kept, '(%d+):(%d+)') do
    at, n = tonumber(at), tonumber(n)
    -- later than now: the clock went back
    if at + counts >= second and at <= second then
      seconds[#seconds + 1] = { at, n }
      taken = taken + n
    end
  end
end

if taken + least > most then
  local missing = taken + least - most
  for _, entry in ipairs(seconds) do
    missing = missing - entry[2]
    if missing <= 0 then
      return { 0, (entry[1] + counts + 1 - second) * 1000000 - micros }
    end
  end
end

local granted = math.min(math.max(want, least), most - taken)
local last = seconds[#seconds]
if last and last[1] == second then
  last[2] = last[2] + granted
else
  seconds[#seconds + 1] = { second, granted }
end
local parts = {}
for i, entry in ipairs(seconds) do
  parts[i] = string.format('%.0f:%.0f', entry[1], entry[2])
end
redis.call('SET', key, table.concat(parts, ' '), 'EX', counts + 1)
return { granted, 0 }
