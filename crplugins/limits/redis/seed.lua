-- Raises a window's use to at least what is known from elsewhere.
-- KEYS: the window's state. ARGV: used, the time of its end in ms.
-- Returns 1.

local used, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local GARBAGE = 60000
if used > tonumber(redis.call('GET', KEYS[1]) or 0) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', math.max(1, period - now) + GARBAGE)
end
return 1
