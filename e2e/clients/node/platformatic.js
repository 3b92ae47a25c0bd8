// @platformatic/kafka. Zstandard needs a Node.js that brings it.
import { Admin, ConfigResourceTypes, Consumer, IncrementalAlterConfigOperationTypes, Producer, stringSerializers } from '@platformatic/kafka'
import { Member } from './member.js'
import { chunks, odd, oddHeaders, pause, plain } from './recipe.js'

// reasons are the Kafka error names in an error and in those it wraps.
function reasons(err) {
  return [err.apiId, ...[...(err.errors ?? []), err.cause].filter(Boolean).flatMap(reasons)].filter(Boolean)
}

export class Driver {
  constructor(bootstrap) {
    this.options = { clientId: 'e2e', bootstrapBrokers: [bootstrap] }
  }

  async admin(use) {
    const admin = new Admin(this.options)
    try {
      return await use(admin)
    } finally {
      await admin.close()
    }
  }

  async producer(options, use) {
    const producer = new Producer({ ...this.options, serializers: stringSerializers, autocreateTopics: true, ...options })
    try {
      return await use(producer)
    } finally {
      await producer.close()
    }
  }

  list() {
    return this.admin(async admin => (await admin.listTopics()).forEach(name => console.log(name)))
  }

  create(topic, partitions) {
    return this.admin(admin => admin.createTopics({ topics: [topic], partitions: Number(partitions), replicas: 1 }))
  }

  describe(topic) {
    return this.admin(async admin => console.log((await admin.metadata({ topics: [topic] })).topics.get(topic).partitionsCount))
  }

  alter(topic) {
    const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }
    const change = { name: 'retention.ms', value: '123456789', configOperation: IncrementalAlterConfigOperationTypes.SET }
    return this.admin(async admin => {
      await admin.incrementalAlterConfigs({ resources: [{ ...resource, configs: [change] }] })
      const answer = await admin.describeConfigs({ resources: [{ ...resource, configurationKeys: ['retention.ms'] }] })
      console.log(answer[0].configs[0].value)
    })
  }

  delete(topic) {
    return this.admin(admin => admin.deleteTopics({ topics: [topic] }))
  }

  produce(topic, codec, count) {
    return this.producer({ compression: codec, acks: -1 }, async producer => {
      for (const messages of chunks(plain(count), 20)) {
        await producer.send({ messages: messages.map(m => ({ ...m, topic, partition: 0 })) })
      }
    })
  }

  'produce-odd'(topic) {
    const messages = odd.map(m => ({ key: m.key ?? undefined, value: m.value ?? undefined, topic, partition: 0, headers: oddHeaders }))
    return this.producer({ acks: -1 }, producer => producer.send({ messages }))
  }

  async large(topic, size) {
    try {
      await this.producer({ acks: -1 }, producer => producer.send({ messages: [{ topic, partition: 0, value: 'x'.repeat(Number(size)) }] }))
      console.log('written')
    } catch (err) {
      console.log(`refused: ${reasons(err).join(' ')}`)
    }
  }

  idempotent(topic, count, seconds) {
    return this.producer({ idempotent: true, retries: 100, retryDelay: 100 }, async producer => {
      for (const messages of chunks(plain(count), 50)) {
        await producer.send({ messages: messages.map(m => ({ ...m, topic, partition: 0 })) })
        await pause(seconds / 50)
      }
    })
  }

  async join(topic, groupId, member) {
    const consumer = new Consumer({
      ...this.options, groupId, autocommit: false, sessionTimeout: 6000, rebalanceTimeout: 6000, heartbeatInterval: 500, maxWaitTime: 200,
    })
    const stream = await consumer.consume({ topics: [topic], mode: 'committed', fallbackMode: 'earliest' })
    member.finished.then(() => stream.close())
    for await (const message of stream) {
      if (member.done()) break
      member.take(message.partition, message.offset, message.value)
      await message.commit()
    }
    await consumer.close(true)
  }

  'group-consume'(topic, group, count) {
    return this.join(topic, group, new Member(count))
  }

  'group-member'(topic, group) {
    return this.join(topic, group, new Member())
  }

  groups() {
    return this.admin(async admin => [...(await admin.listGroups()).keys()].forEach(id => console.log(id)))
  }

  'group-state'(group) {
    return this.admin(async admin => console.log((await admin.describeGroups({ groups: [group] })).get(group).state))
  }

  'group-offsets'(groupId, topic) {
    return this.admin(async admin => {
      const [{ topics }] = await admin.listConsumerGroupOffsets({ groups: [{ groupId }] })
      const { partitions } = topics.find(t => t.name === topic)
      partitions.sort((a, b) => a.partitionIndex - b.partitionIndex).forEach(p => console.log(p.partitionIndex, String(p.committedOffset)))
    })
  }

  'group-rewind'(groupId, topic, count) {
    const partitionOffsets = Array.from({ length: Number(count) }, (_, partition) => ({ partition, offset: 0n }))
    return this.admin(admin => admin.alterConsumerGroupOffsets({ groupId, topics: [{ name: topic, partitionOffsets }] }))
  }

  'group-delete'(group) {
    return this.admin(admin => admin.deleteGroups({ groups: [group] }))
  }
}
