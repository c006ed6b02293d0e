-- A device's arrival has a number above all before it of the account, and is said.
--
-- KEYS  the account's last number, its channel
-- ARGV  the frame up to the number, ms to live, another number that it must be above
-- Gives the number. It is the server's time in microseconds, so that it grows on after the last number was lost.
local time = redis.call('TIME')
local number = tonumber(time[1]) * 1000000 + tonumber(time[2])
local stands = redis.pcall('GET', KEYS[1])
local last = type(stands) == 'string' and tonumber(stands) or 0 -- what is no number is replaced
number = math.max(number, last + 1, tonumber(ARGV[3]) + 1)
local digits = string.format('%.0f', number)
redis.call('SET', KEYS[1], digits, 'PX', ARGV[2])
redis.call('SPUBLISH', KEYS[2], ARGV[1] .. digits .. '}')
return digits
