-- Counts one call everywhere, or nowhere. Times are microseconds of the
-- server's clock: those of edges differ.
-- KEYS: for each bound its rate and its places, then the person's minute, then
-- identical calls. ARGV: the call's id, how long a place is held without being
-- renewed, what is added to the clock, whether the minute is counted, from which
-- identical call on it is refused (-1: they are not counted, 0: none is), then
-- for each bound the interval (0: no rate), the burst, and the places (0: any).
local bounds = (#ARGV - 5) / 3
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[3])
local MINUTE, PLACE_WAIT = 60000000, 1000000

-- A minute is its beginning and a count, and whether anything was refused in it.
local function minute(key)
  local v = redis.call('GET', key)
  if v then
    local from, n, refused = string.match(v, '^(%d+) (%d+) (%d)$')
    from = tonumber(from)
    if from and now < from + MINUTE then
      return from, tonumber(n), refused == '1'
    end
  end
  return now, 0, false
end
local function keep(key, from, n, refused)
  local life = math.ceil((from + MINUTE - now) / 1000) + 1
  redis.call('SET', key, string.format('%.0f %d %d', from, n, refused and 1 or 0), 'PX', string.format('%.0f', life))
end

local same, refuse = KEYS[2 * bounds + 2], tonumber(ARGV[5])
local same_from, same_n, same_refused
if refuse >= 0 then
  same_from, same_n, same_refused = minute(same)
  if refuse > 0 and same_n + 1 >= refuse then
    if not same_refused then
      keep(same, same_from, same_n, true)
    end
    return {3, 0, string.format('%.0f', same_from + MINUTE - now), 0, refuse, same_refused and 0 or 1}
  end
end

local why, which, wait = 0, 0, 0
local due = {}
for i = 1, bounds do
  local interval, burst, places = tonumber(ARGV[3 + 3 * i]), tonumber(ARGV[4 + 3 * i]), tonumber(ARGV[5 + 3 * i])
  if places > 0 and wait < PLACE_WAIT and redis.call('ZCARD', KEYS[2 * i]) >= places then
    redis.call('ZREMRANGEBYSCORE', KEYS[2 * i], '-inf', string.format('%.0f', now))
    if redis.call('ZCARD', KEYS[2 * i]) >= places then
      why, which, wait = 2, i - 1, PLACE_WAIT
    end
  end
  if interval > 0 then
    local arrival = math.max(tonumber(redis.call('GET', KEYS[2 * i - 1]) or 0), now)
    due[i] = arrival + interval
    local later = arrival + interval * (1 - burst) - now
    if later > wait then
      why, which, wait = 1, i - 1, later
    end
  end
end
if why ~= 0 then
  return {why, which, string.format('%.0f', math.ceil(wait)), 0, 0, 0}
end

for i = 1, bounds do
  if due[i] then
    redis.call('SET', KEYS[2 * i - 1], string.format('%.1f', due[i]), 'PX', string.format('%.0f', math.ceil((due[i] - now) / 1000) + 1))
  end
  if tonumber(ARGV[5 + 3 * i]) > 0 then
    redis.call('ZADD', KEYS[2 * i], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
    redis.call('PEXPIRE', KEYS[2 * i], 300000) -- longer than any place is held
  end
end
local calls, repeats = 0, 0
if ARGV[4] == '1' then
  local from, n = minute(KEYS[2 * bounds + 1])
  calls = n + 1
  keep(KEYS[2 * bounds + 1], from, calls, false)
end
if refuse >= 0 then
  repeats = same_n + 1
  keep(same, same_from, repeats, false)
end
return {0, 0, '0', calls, repeats, 0}
