// driver.js kafkajs|platformatic BOOTSTRAP STORY ARGS...; see ../README.md.
const [family, bootstrap, story, ...args] = process.argv.slice(2)
const { Driver } = await import(`./${family}.js`)
await new Driver(bootstrap)[story](...args)
