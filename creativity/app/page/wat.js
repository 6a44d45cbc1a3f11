// A small assembler: WebAssembly's text format, folded, to its binary form. It knows one module that imports a memory
// and exports functions, and the instructions below.

const plain = {
  'i32.eqz': [0x45], 'i32.eq': [0x46], 'i32.lt_s': [0x48], 'i32.ge_s': [0x4e],
  'i32.add': [0x6a], 'i32.sub': [0x6b], 'i32.mul': [0x6c],
}
const memory = {
  'i32.load': [0x28], 'f64.load': [0x2b],
  'v128.load': [0xfd, 0], 'v128.load64_splat': [0xfd, 10], 'v128.store': [0xfd, 11],
}
const vector = {
  'f64x2.splat': 0x14, 'f64x2.lt': 0x49, 'v128.bitselect': 0x52, 'v128.any_true': 0x53,
  'i64x2.extend_low_i32x4_u': 0xc9, 'i64x2.shl': 0xcb, 'i64x2.sub': 0xd1,
  'f64x2.add': 0xf0, 'f64x2.sub': 0xf1, 'f64x2.mul': 0xf2, 'f64x2.pmin': 0xf6,
  'i32x4.trunc_sat_f64x2_u_zero': 0xfd, 'f64x2.convert_low_i32x4_u': 0xff,
}
const types = { i32: 0x7f, f64: 0x7c, v128: 0x7b }

// Whole numbers of variable length, without and with a sign.
function leb(n) {
  const out = []
  do { out.push(n % 128 + (n > 127 ? 128 : 0)); n = Math.floor(n / 128) } while (n)
  return out
}
function signed(n) {
  const out = []
  for (;;) {
    const low = n & 0x7f
    n >>= 7
    if ((n === 0 && !(low & 64)) || (n === -1 && low & 64)) return [...out, low]
    out.push(low | 128)
  }
}
const bytesOf = n => [...new Uint8Array(new Float64Array([n]).buffer)]
const text = s => [...leb(s.length), ...new TextEncoder().encode(s)]
const list = parts => [...leb(parts.length), ...parts.flat()]
const section = (id, bytes) => [id, ...leb(bytes.length), ...bytes]

// The text as nested lists of words.
function parse(source) {
  const stack = [[]]
  for (const word of source.replace(/;;.*/g, '').match(/[()]|"[^"]*"|[^\s()]+/g)) {
    if (word === '(') stack.push([])
    else if (word === ')') { const done = stack.pop(); stack.at(-1).push(done) } else stack.at(-1).push(word)
  }
  return stack[0][0]
}

function assembleFunction(parts) {
  const params = [], locals = [], body = []
  for (const part of parts) {
    if (part[0] === 'param') params.push(part.slice(1))
    else if (part[0] === 'local') locals.push(part.slice(1))
    else if (part[0] !== 'export') body.push(part)
  }
  const names = [...params, ...locals].map(p => p[0]), labels = []
  const local = name => {
    const at = names.indexOf(name)
    if (at < 0) throw new Error(`no local ${name}`)
    return leb(at)
  }
  const wide = v => [...new Uint8Array(new BigInt64Array([BigInt(v)]).buffer)]
  const all = codes => codes.flatMap(emit)
  function emit([op, ...rest]) {
    if (op === 'i32.const') return [0x41, ...signed(Number(rest[0]))]
    if (op === 'f64x2.const') return [0xfd, 12, ...bytesOf(Number(rest[0])), ...bytesOf(Number(rest[0]))]
    if (op === 'i64x2.const') return [0xfd, 12, ...rest.flatMap(wide)]
    if (op === 'local.get') return [0x20, ...local(rest[0])]
    if (op === 'local.set') return [...all(rest.slice(1)), 0x21, ...local(rest[0])]
    if (op === 'local.tee') return [...all(rest.slice(1)), 0x22, ...local(rest[0])]
    if (op === 'block' || op === 'loop') {
      labels.push(rest[0])
      const inner = all(rest.slice(1))
      labels.pop()
      return [op === 'block' ? 2 : 3, 0x40, ...inner, 0x0b]
    }
    if (op === 'br' || op === 'br_if') {
      const depth = labels.length - 1 - labels.lastIndexOf(rest[0])
      return [...all(rest.slice(1)), op === 'br' ? 0x0c : 0x0d, ...leb(depth)]
    }
    if (op === 'if') {
      labels.push('')
      const [condition, [, ...then]] = rest, inner = all(then)
      labels.pop()
      return [...emit(condition), 4, 0x40, ...inner, 0x0b]
    }
    if (memory[op]) {
      const at = rest.findIndex(r => Array.isArray(r)), offset = at ? Number(rest[0].split('=')[1]) : 0
      return [...all(rest.slice(at)), ...memory[op], 0, ...leb(offset)]
    }
    if (plain[op]) return [...all(rest), ...plain[op]]
    if (vector[op]) return [...all(rest), 0xfd, ...leb(vector[op])]
    throw new Error(`no instruction ${op}`)
  }
  const code = all(body), kinds = list(locals.map(([, type]) => [1, types[type]])), whole = [...kinds, ...code, 0x0b]
  return { type: [0x60, ...list(params.map(([, type]) => [types[type]])), 0], code: [...leb(whole.length), ...whole] }
}

// The binary module; its memory is imported as env.memory.
export function assemble(source) {
  const functions = parse(source).slice(1), made = functions.map(f => assembleFunction(f.slice(1)))
  const exported = functions.map((f, i) => [...text(f.find(p => p[0] === 'export')[1].slice(1, -1)), 0, ...leb(i)])
  return Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, list(made.map(f => f.type))),
    ...section(2, list([[...text('env'), ...text('memory'), 2, 0, ...leb(1)]])),
    ...section(3, list(made.map((_, i) => leb(i)))),
    ...section(7, list(exported)),
    ...section(10, list(made.map(f => f.code)))])
}
