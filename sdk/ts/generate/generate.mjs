// Writes src/frames.ts from docs/asyncapi.yaml and src/rest-types.ts from docs/openapi.yaml.
// With --check it writes nothing and fails when a file differs from what it would write.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { parse } from 'yaml'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const load = (name) => parse(readFileSync(here(`../../../docs/${name}`), 'utf8'))

// Names of the documents that mean something else in TypeScript, or to a reader.
const renamed = { Record: 'ChatRecord', Error: 'ErrorData', Login: 'Session' }
const typeName = (name) => renamed[name] ?? name
const quoted = (text) => `'${text}'`
const refName = (ref) => ref.slice(ref.lastIndexOf('/') + 1)

// A whole number is below 2^53 (seq and n below 2^40); 64-bit ids are strings in the documents already.
function typeOf(schema) {
  if (schema.$ref) return typeName(refName(schema.$ref))
  if (schema.oneOf) return schema.oneOf.map(typeOf).join(' | ')
  if (schema.const !== undefined) return quoted(schema.const)
  if (schema.enum) return schema.enum.map(quoted).join(' | ')
  switch (schema.type) {
    case 'string': return 'string'
    case 'boolean': return 'boolean'
    case 'null': return 'null'
    case 'integer': case 'number': return 'number'
    case 'array': return schema.items.oneOf || schema.items.enum ? `(${typeOf(schema.items)})[]` : `${typeOf(schema.items)}[]`
    case 'object': return mapOf(schema)
  }
  if (Object.keys(schema).length === 0) return 'unknown'
  throw new Error(`a schema that this generator does not know: ${JSON.stringify(schema)}`)
}

// An object without properties is a map when its values have a type, else it is empty.
function mapOf(schema) {
  if (schema.properties) throw new Error('an object with properties needs a name')
  return typeof schema.additionalProperties === 'object' ? `{ [key: string]: ${typeOf(schema.additionalProperties)} }` : 'Empty'
}

function declaration(name, schema) {
  const required = new Set(schema.required ?? [])
  const fields = Object.entries(schema.properties ?? {}).map(([field, s]) =>
    (s.description ? `  /** ${s.description} */\n` : '') + `  ${field}${required.has(field) ? '' : '?'}: ${typeOf(s)}\n`)
  return `export interface ${typeName(name)} {\n${fields.join('')}}\n`
}

const header = (source) => `// Generated from docs/${source} by generate/generate.mjs; not to be edited.\n`

// Clients send Up and receive Down where one type of frame goes both ways.
function frameUnion(name, summary, operation, doc, direction) {
  const frames = operation.messages.map((ref) => {
    const { payload, summary } = doc.components.messages[refName(ref.$ref)]
    let data = payload.properties.data
    if (data.oneOf) data = data.oneOf.find((s) => s.$ref.endsWith(direction)) ?? data
    return `  /** ${summary} */\n  | { type: ${quoted(payload.properties.type.const)}; id?: number; data: ${typeOf(data)} }\n`
  })
  return `/** ${summary} */\nexport type ${name} =\n${frames.join('')}`
}

function frames(doc) {
  const schemas = Object.entries(doc.components.schemas).map(([name, s]) => declaration(name, s))
  return [
    header('asyncapi.yaml'),
    '/** Data of a frame that says everything by its type. */\nexport interface Empty {}\n',
    ...schemas,
    frameUnion('ClientFrame', 'What a client sends.', doc.operations.receive, doc, 'Up'),
    frameUnion('ServerFrame', 'What a client receives.', doc.operations.send, doc, 'Down'),
  ].join('\n')
}

// What both documents describe is declared once, in frames.ts.
function rest(doc, async) {
  const shared = [], own = []
  for (const [name, schema] of Object.entries(doc.components.schemas)) {
    const other = async.components.schemas[name]
    if (other && !isDeepStrictEqual(other, schema)) throw new Error(`the documents differ in ${name}`)
    other ? shared.push(typeName(name)) : own.push(declaration(name, schema))
  }
  const used = shared.filter((name) => own.some((text) => new RegExp(`: ${name}\\b`).test(text)))
  return [header('openapi.yaml'), `import type { ${used.join(', ')} } from './frames.js'\n`, ...own].join('\n')
}

function put(path, text, check) {
  const file = here(`../src/${path}`)
  if (!check) return writeFileSync(file, text)
  if (readFileSync(file, 'utf8') !== text) {
    console.error(`src/${path} is not what the documents say: run npm run generate`)
    process.exitCode = 1
  }
}

const check = process.argv.includes('--check')
const async = load('asyncapi.yaml'), open = load('openapi.yaml')
put('frames.ts', frames(async), check)
put('rest-types.ts', rest(open, async), check)
