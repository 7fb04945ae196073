-- A shared rate limit (GCRA) that also holds in any window: see lease.rs for the arithmetic.
-- KEYS[1]: the limit. ARGV: interval in 1/16 µs, burst, per_minute, want, at_least.
-- Kept: when the bucket will have been refilled; the largest call that waits, and until when its claim holds.
local key = KEYS[1]
local interval, burst, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local want, least = tonumber(ARGV[4]), tonumber(ARGV[5])
local second = 16000000

-- whole numbers below 2^53 until 2043
local time = redis.call('TIME')
local now = (tonumber(time[1]) - 1750000000) * second + tonumber(time[2]) * 16

local full, claim, claimed_until = now - most * interval, 0, 0
local kept = redis.pcall('GET', key)
if type(kept) == 'string' then
  local a, b, c = string.match(kept, '^(%-?%d+) (%d+) (%-?%d+)$')
  if a then
    full, claim, claimed_until = tonumber(a), tonumber(b), tonumber(c)
    -- the clock went back
    if full > now + most * interval then full = now + burst * interval end
    if claimed_until > now + 2 * second then claimed_until = now end
  end
end

local function keep()
  local millis = math.ceil((math.max(full, now) - now) / 16000) + 62000
  redis.call('SET', key, string.format('%.0f %.0f %.0f', full, claim, claimed_until), 'PX', string.format('%.0f', millis))
end

-- a larger call waits: what comes in until its turn is for it
if least < claim and now < claimed_until then
  return { 0, math.ceil((full + (claim + least - burst) * interval - now) / 16) }
end

local at = full + (least - burst) * interval
if at > now then
  if least > burst then
    claim, claimed_until = least, now + 2 * second
    keep()
  end
  return { 0, math.ceil((at - now) / 16) }
end

local there = math.floor((now - full) / interval) + burst
local granted = math.min(math.max(want, least), there, math.max(burst, least))
full = math.max(full, now) + granted * interval
if least >= claim then claim, claimed_until = 0, 0 end
keep()
return { granted, 0 }
