-- What scripts may use. Runs once per interpreter with the real globals as its environment; `host`
-- holds the functions written in Rust. Returns the environment of scripts, the tables behind it and
-- all tables that scripts must not change.
local host = ...
local error, getmetatable, next, pcall, rawget, rawset = error, getmetatable, next, pcall, rawget, rawset
local setmetatable, tostring, type = setmetatable, tostring, type
local collectgarbage = collectgarbage

local guarded, list = {}, {}

local function refuse()
    error('Attempt to modify a readonly table', 2)
end

-- An empty table in front of `content`. Lua 5.1 has no read-only tables.
local function guard(content)
    local front = setmetatable({}, { __index = content, __newindex = refuse, __metatable = false })
    guarded[front] = true
    list[#list + 1] = front
    return front
end

local function copy(from)
    local to = {}
    for name, value in next, from do
        to[name] = value
    end
    return to
end

local globals = {}
local names = {
    'assert', 'error', 'gcinfo', 'getmetatable', 'ipairs', 'next', 'pairs', 'rawequal', 'rawget',
    'select', 'tonumber', 'tostring', 'type', 'unpack', '_VERSION',
}
for _, name in next, names do
    globals[name] = _G[name]
end

function globals.rawset(table, name, value)
    if guarded[table] then
        error('Attempt to modify a readonly table', 0)
    end
    return rawset(table, name, value)
end

function globals.setmetatable(table, metatable)
    if guarded[table] then
        error('Attempt to modify a readonly table', 0)
    end
    return setmetatable(table, metatable)
end

function globals.collectgarbage(option, argument)
    if option == nil or option == 'collect' or option == 'count' or option == 'step' then
        return collectgarbage(option, argument)
    end
    return 0
end

-- A failed command is caught as its text.
local function caught(ok, ...)
    if ok then
        return true, ...
    end
    local problem = ...
    if type(problem) == 'table' then
        local text = rawget(problem, 'err')
        if type(text) == 'string' then
            problem = text
        end
    elseif type(problem) == 'userdata' then
        problem = host.text(problem)
    end
    return false, problem
end

function globals.pcall(...)
    return caught(pcall(...))
end

-- The handler runs when the stack is unwound: Lua would call it where the error is raised, and for
-- the one that ends a script that would be where nothing can stop it.
local function handled(handler, ok, ...)
    if ok then
        return true, ...
    end
    local problem = ...
    if type(problem) == 'userdata' then
        problem = host.text(problem)
    end
    return false, handler(problem)
end

function globals.xpcall(body, handler)
    return handled(handler, pcall(body))
end

function globals.loadstring(text, name)
    return host.compile(text, name)
end

function globals.load(pieces, name)
    local text = {}
    while true do
        local piece = pieces()
        if piece == nil or piece == '' then
            break
        end
        text[#text + 1] = piece
    end
    return host.compile(host.concat(text), name or '=(load)')
end

local redis = copy(host.redis)
local mathematics = copy(math)
mathematics.random = host.random
mathematics.randomseed = host.randomseed
string.dump = nil

globals.redis = guard(redis)
globals.server = globals.redis
globals.string = guard(string)
globals.math = guard(mathematics)
globals.table = guard(table)
globals.coroutine = guard(coroutine)
globals.cjson = guard(host.cjson)
globals.cmsgpack = guard(host.cmsgpack)
globals.bit = guard(host.bit)
globals.struct = guard(host.struct)

local text = getmetatable('')
text.__index = globals.string
text.__metatable = guard({ __index = globals.string })

setmetatable(globals, {
    __index = function(_, name)
        error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
    end,
})
local environment = guard(globals)
globals._G = environment
return environment, globals, redis, list
