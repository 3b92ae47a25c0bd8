// KafkaJS. Its codecs are gzip and, by a plug-in, snappy.
import kafkajs from 'kafkajs'
import SnappyCodec from 'kafkajs-snappy'
import { Member } from './member.js'
import { chunks, odd, oddHeaders, pause, plain } from './recipe.js'

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs
CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec

export class Driver {
  constructor(bootstrap) {
    this.kafka = new Kafka({ brokers: [bootstrap], clientId: 'e2e', logLevel: logLevel.ERROR, retry: { retries: 12 } })
  }

  async admin(use) {
    const admin = this.kafka.admin()
    await admin.connect()
    try {
      return await use(admin)
    } finally {
      await admin.disconnect()
    }
  }

  async producer(options, use) {
    const producer = this.kafka.producer({ allowAutoTopicCreation: true, ...options })
    await producer.connect()
    try {
      return await use(producer)
    } finally {
      await producer.disconnect()
    }
  }

  list() {
    return this.admin(async admin => (await admin.listTopics()).forEach(name => console.log(name)))
  }

  create(topic, partitions) {
    return this.admin(admin => admin.createTopics({ topics: [{ topic, numPartitions: Number(partitions) }], waitForLeaders: true }))
  }

  describe(topic) {
    return this.admin(async admin => console.log((await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length))
  }

  alter(topic) {
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
    return this.admin(async admin => {
      await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '123456789' }] }] })
      const answer = await admin.describeConfigs({ resources: [{ ...resource, configNames: ['retention.ms'] }] })
      console.log(answer.resources[0].configEntries[0].configValue)
    })
  }

  delete(topic) {
    return this.admin(admin => admin.deleteTopics({ topics: [topic] }))
  }

  produce(topic, codec, count) {
    const compression = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy }[codec]
    return this.producer({}, async producer => {
      for (const messages of chunks(plain(count), 20)) {
        await producer.send({ topic, compression, acks: -1, messages: messages.map(m => ({ ...m, partition: 0 })) })
      }
    })
  }

  'produce-odd'(topic) {
    const messages = odd.map(m => ({ ...m, partition: 0, headers: oddHeaders }))
    return this.producer({}, producer => producer.send({ topic, acks: -1, messages }))
  }

  async large(topic, size) {
    try {
      await this.producer({}, producer => producer.send({ topic, messages: [{ value: 'x'.repeat(Number(size)), partition: 0 }] }))
      console.log('written')
    } catch (err) {
      console.log(`refused: ${err.type} ${err.message}`)
    }
  }

  idempotent(topic, count, seconds) {
    return this.producer({ idempotent: true, maxInFlightRequests: 1, retry: { retries: 50, maxRetryTime: 1000 } }, async producer => {
      for (const messages of chunks(plain(count), 50)) {
        await producer.send({ topic, acks: -1, messages: messages.map(m => ({ ...m, partition: 0 })) })
        await pause(seconds / 50)
      }
    })
  }

  async join(topic, groupId, member) {
    const consumer = this.kafka.consumer({ groupId, sessionTimeout: 6000, rebalanceTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200 })
    const eachBatch = async ({ batch, isRunning, isStale, commitOffsetsIfNecessary, heartbeat }) => {
      let next
      for (const { offset, value } of batch.messages) {
        if (member.done() || !isRunning() || isStale()) break
        member.take(batch.partition, offset, value)
        next = String(BigInt(offset) + 1n)
      }
      if (next !== undefined) await commitOffsetsIfNecessary({ topics: [{ topic, partitions: [{ partition: batch.partition, offset: next }] }] })
      await heartbeat()
    }
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({ autoCommit: false, eachBatchAutoResolve: true, eachBatch })
    await member.finished
    await consumer.disconnect()
  }

  'group-consume'(topic, group, count) {
    return this.join(topic, group, new Member(count))
  }

  'group-member'(topic, group) {
    return this.join(topic, group, new Member())
  }

  groups() {
    return this.admin(async admin => (await admin.listGroups()).groups.forEach(g => console.log(g.groupId)))
  }

  'group-state'(group) {
    return this.admin(async admin => console.log((await admin.describeGroups([group])).groups[0].state))
  }

  'group-offsets'(groupId, topic) {
    return this.admin(async admin => {
      const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
      partitions.sort((a, b) => a.partition - b.partition).forEach(p => console.log(p.partition, p.offset))
    })
  }

  'group-rewind'(groupId, topic, count) {
    const partitions = Array.from({ length: Number(count) }, (_, partition) => ({ partition, offset: '0' }))
    return this.admin(admin => admin.setOffsets({ groupId, topic, partitions }))
  }

  'group-delete'(group) {
    return this.admin(admin => admin.deleteGroups([group]))
  }
}
