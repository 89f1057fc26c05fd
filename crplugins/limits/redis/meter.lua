-- The state of a meter, as limits/arithmetic.py has it: five doubles. Before the scripts that read or write meters.
-- How much is used and when, the number of the calendar period since 1970, what was charged in it and in the one before.

local REMEMBERED, DRAIN_TIMES = 3600000, 10

local function remembered(present, before, amount, period)
  return math.min(period, REMEMBERED, DRAIN_TIMES * (present + before) * period / amount)
end

local function read_meter(key, now, amount, period)
  local state = redis.call('GET', key)
  if not state then
    return {used = 0, recent = 0}
  end
  local used, at = struct.unpack('>dd', state)
  local meter = {used = math.max(0, used - math.max(0, now - at) * amount / period), at = at, recent = 0}
  local number, present, before = 0, 0, 0
  if #state >= 40 then
    number, present, before = select(3, struct.unpack('>ddddd', state))
  end
  if now - at < remembered(present, before, amount, period) then
    local passed = math.floor(now / period) - number
    if passed == 1 then
      number, present, before = number + 1, 0, present
    elseif passed > 1 then
      number, present, before = number + passed, 0, 0
    end
    meter.number, meter.present, meter.before = number, present, before
    if passed >= 0 then
      meter.recent = math.max(0, math.floor(present + before * (1 - now % period / period)))
    end
  end
  return meter
end

local function write_meter(key, meter, used, change, now, amount, period)
  local number = math.floor(now / period)
  local present, before = change, 0
  if meter.number == number then
    present, before = meter.present + change, meter.before
  end
  local kept = math.max(used * period / amount + 1000, remembered(present, before, amount, period))
  redis.call('SET', key, struct.pack('>ddddd', used, now, number, present, before), 'PX', math.ceil(kept))
end

