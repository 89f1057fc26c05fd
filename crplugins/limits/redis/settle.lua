-- Replaces what was reserved by the real cost, and frees the leases. Idempotent. Or, for a reservation that goes on,
-- replaces what was reserved, and leaves the leases.
-- KEYS: the reservation's marker, then each limit's state, and the clock.
-- ARGV: id, debt, now in ms or '', '1' if it goes on or '', then kind, amount, period and difference of each limit.
-- Returns 1; 0, and nothing is changed, if the reservation was settled before or has expired.

local id, debt = ARGV[1], tonumber(ARGV[2])
local now, steady = read_clocks(KEYS[#KEYS], ARGV[3])

local expiry = tonumber(redis.call('GET', KEYS[1]) or 0)
local goes_on = ARGV[4] == '1'
if not goes_on then
  redis.call('DEL', KEYS[1])
end
if expiry <= steady then
  return 0
end

for i = 1, #KEYS - 2 do
  local a = 5 + (i - 1) * 4
  local key, kind = KEYS[i + 1], ARGV[a]
  local amount, period, difference = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])

  if kind == 'lease' then
    if not goes_on then
      redis.call('ZREM', key, id)
    end
  elseif difference == 0 then
    -- as reserved
  elseif kind == 'window' then
    -- A late refund is for its own window or for none.
    if redis.call('EXISTS', key) == 1 then
      redis.call('INCRBY', key, difference)
    end
  else
    local meter = read_meter(key, now, amount, period)
    local used = math.min(math.max(0, meter.used + difference), math.max(meter.used, amount * (1 + debt)))
    write_meter(key, meter, used, difference, now, amount, period)
  end
end
return 1
