-- The levels of limits, without charging anything.
-- KEYS: each limit's state, and the clock. ARGV: now in ms or '', then kind, amount and period of each limit.
-- Returns of each limit: used, reset in ms, and how much was charged recently.

local now, steady = read_clocks(KEYS[#KEYS], ARGV[1])

local answer = {}
for i = 1, #KEYS - 1 do
  local a = 2 + (i - 1) * 3
  local key, kind = KEYS[i], ARGV[a]
  local amount, period = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local used, reset, recent = 0, 0, nil

  if kind == 'meter' then
    local meter = read_meter(key, now, amount, period)
    used, recent = meter.used, meter.recent
    reset = math.ceil(used * period / amount)
  elseif kind == 'window' then
    used = tonumber(redis.call('GET', key) or 0)
    reset = period - now
  else
    used = redis.call('ZCOUNT', key, '(' .. string.format('%.0f', steady), '+inf')
  end
  answer[#answer + 1] = math.floor(used)
  answer[#answer + 1] = reset
  answer[#answer + 1] = recent or math.floor(used)
end
return answer
