package group

import "iter"

// committed are offsets that are in the log: by topic, for a topic that is deleted takes
// all of its own with it, then by partition.
type committed struct {
	topics map[string]map[int32]OffsetRecord
	n      int
}

func (c *committed) get(tp TopicPartition) (OffsetRecord, bool) {
	r, ok := c.topics[tp.Topic][tp.Partition]
	return r, ok
}

func (c *committed) set(r OffsetRecord) {
	of := c.topics[r.Topic]
	if of == nil {
		if c.topics == nil {
			c.topics = map[string]map[int32]OffsetRecord{}
		}
		of = map[int32]OffsetRecord{}
		c.topics[r.Topic] = of
	}
	before := len(of)
	of[r.Partition] = r
	c.n += len(of) - before
}

func (c *committed) delete(tp TopicPartition) {
	of := c.topics[tp.Topic]
	before := len(of)
	delete(of, tp.Partition)
	c.n += len(of) - before
	if len(of) == 0 {
		delete(c.topics, tp.Topic)
	}
}

// all yields the offsets in no order.
func (c *committed) all() iter.Seq[OffsetRecord] {
	return func(yield func(OffsetRecord) bool) {
		for topic := range c.topics {
			for r := range c.of(topic) {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// of yields those of a topic in no order.
func (c *committed) of(topic string) iter.Seq[OffsetRecord] {
	return func(yield func(OffsetRecord) bool) {
		for _, r := range c.topics[topic] {
			if !yield(r) {
				return
			}
		}
	}
}

func (r *OffsetRecord) where() TopicPartition { return TopicPartition{r.Topic, r.Partition} }
