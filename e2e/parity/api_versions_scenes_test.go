//go:build parity

package parity

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func versionsRequest(software, version string) *kmsg.ApiVersionsRequest {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion, req.NodeID = software, version, -1
	return req
}

var apiVersionsScenes = []scene{
	{name: "plain", play: func(s *script) { s.ask(versionsRequest("parity", "1.0")) }},
	{name: "twice", play: func(s *script) {
		s.ask(versionsRequest("parity", "1.0"))
		s.ask(versionsRequest("parity", "1.0"))
	}},
	{name: "software names", from: 3, play: func(s *script) {
		for _, name := range []string{"", "two words", "-dash", "a.b-c", "ünicode"} {
			s.ask(versionsRequest(name, "1.0"))
			s.ask(versionsRequest("parity", name))
		}
	}},
	{name: "unsupported version", once: true, play: func(s *script) {
		for _, v := range []int16{6, 99, 32767, -1} {
			s.askHeader(18, v, versionsBody)
			s.askHeader(18, v, nil)
		}
		s.ask(versionsRequest("parity", "1.0"))
	}},
}

// versionsBody is the body of ApiVersions v3 and v4.
var versionsBody = []byte{7, 'p', 'a', 'r', 'i', 't', 'y', 4, '1', '.', '0', 0}

// header is the header of a request with client id "c" and, for flexible versions, no tags.
func header(key, version int16, flexible bool) []byte {
	p := binary.BigEndian.AppendUint16(nil, uint16(key))
	p = binary.BigEndian.AppendUint16(p, uint16(version))
	p = append(p, 0, 0, 0, 77, 0, 1, 'c')
	if flexible {
		p = append(p, 0)
	}
	return p
}

// askHeader sends a flexible request and decodes its answer as ApiVersions v0.
func (s *script) askHeader(key, version int16, body []byte) {
	s.step++
	at := fmt.Sprintf("%d.", s.step)
	c := s.line()
	err := c.send(sized(append(header(key, version, true), body...)))
	var p []byte
	if err == nil {
		p, err = c.read()
	}
	if err != nil {
		s.tree.add(at+"outcome", outcome(err))
		s.hangUp()
		return
	}
	resp, raw, err := decode(kmsg.NewPtrApiVersionsRequest(), 77, p)
	s.check(err)
	s.tree.answer(at, resp, raw)
}

// garbageScenes are about bytes that are no request.
var garbageScenes = []scene{
	{name: "sizes", once: true, play: func(s *script) {
		for _, size := range []int32{0, -1, -2147483648, 2147483647, 104857601} {
			s.raw(binary.BigEndian.AppendUint32(nil, uint32(size)))
		}
		for n := 1; n < 11; n++ {
			s.raw(sized(header(18, 0, false)[:n]))
		}
	}},
	{name: "other protocols", once: true, play: func(s *script) {
		s.raw([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		s.raw([]byte{0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0})
		s.raw([]byte("SSH-2.0-OpenSSH_9\r\n"))
	}},
	{name: "unknown keys", once: true, play: func(s *script) {
		for _, key := range []int16{-1, 93, 1000, 32767} {
			s.raw(sized(header(key, 0, false)))
			s.raw(sized(header(key, 0, true)))
		}
	}},
	{name: "keys of brokers and controllers", once: true, play: func(s *script) {
		for _, key := range []int16{4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73} {
			s.raw(sized(append(header(key, 0, false), make([]byte, 64)...)))
		}
	}},
	{name: "unsupported versions", once: true, play: func(s *script) {
		for key := range int16(4) {
			for _, v := range []int16{-1, 99, 32767} {
				s.raw(sized(append(header(key, v, true), make([]byte, 64)...)))
			}
		}
		for _, old := range [][2]int16{{1, 3}, {2, 0}, {19, 1}, {20, 0}, {23, 1}, {32, 0}, {35, 0}} {
			s.raw(sized(append(header(old[0], old[1], false), make([]byte, 64)...)))
		}
	}},
	{name: "client ids", once: true, play: func(s *script) {
		for _, id := range [][]byte{{255, 255}, {0, 0}, {255, 254}, {127, 255}, {0, 5, 'a'}} {
			p := append([]byte{0, 18, 0, 0, 0, 0, 0, 77}, id...)
			s.raw(sized(p))
		}
	}},
	{name: "bodies that end early", once: true, play: func(s *script) {
		req := kmsg.NewPtrMetadataRequest()
		req.Version = 4
		req.Topics = append(req.Topics, metadataTopic("some"))
		body := req.AppendTo(nil)
		for n := range body {
			s.raw(sized(append(header(3, 4, false), body[:n]...)))
		}
	}},
	{name: "counts above the bytes that are left", once: true, play: func(s *script) {
		s.raw(sized(append(header(3, 4, false), 0x7f, 0xff, 0xff, 0xff, 0)))
		s.raw(sized(append(header(3, 4, false), 0x80, 0, 0, 0, 0)))
		s.raw(sized(append(header(3, 12, true), 0xff, 0xff, 0xff, 0xff, 0x07, 0)))
		s.raw(sized(append(header(2, 1, false), 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff)))
	}},
	{name: "null where null is not allowed", once: true, play: func(s *script) {
		s.raw(sized(append(header(2, 1, false), 255, 255, 255, 255, 255, 255, 255, 255)))
		s.raw(sized(append(header(3, 4, false), 0, 0, 0, 1, 255, 255, 0)))
	}},
	{name: "trailing bytes", once: true, play: func(s *script) {
		for _, v := range []int16{4, 9, 12} {
			req := kmsg.NewPtrMetadataRequest()
			req.Version, req.Topics = v, []kmsg.MetadataRequestTopic{}
			body := append(req.AppendTo(nil), "trailing"...)
			s.raw(sized(append(header(3, v, v >= 9), body...)))
		}
		s.raw(sized(append(header(18, 0, false), 1, 2, 3)))
	}},
	{name: "unknown tags", once: true, play: func(s *script) {
		req := kmsg.NewPtrMetadataRequest()
		req.Version, req.Topics = 12, []kmsg.MetadataRequestTopic{}
		req.UnknownTags.Set(1000, []byte("future"))
		s.raw(sized(append(header(3, 12, true), req.AppendTo(nil)...)))
		tagged := append(header(3, 12, false), 1, 100, 2, 'h', 'i')
		req.UnknownTags = kmsg.Tags{}
		s.raw(sized(append(tagged, req.AppendTo(nil)...)))
	}},
	{name: "pipelined requests are answered in order", once: true, play: func(s *script) {
		topic := s.fill(s.topic("t", 1), batch(some(3)...))
		slow := s.fetch(topic, 0, 3)
		slow.MaxWaitMillis = 300
		reqs := []kmsg.Request{
			slow, kmsg.NewPtrApiVersionsRequest(), s.produce(topic, 0, batch(rec("one"))),
			kmsg.NewPtrMetadataRequest(), s.fetch(topic, 0, 0), s.produce(topic, 0, batch(rec("two"))), listOffset(topic, 0, -2),
		}
		s.pipeline(reqs...)
	}},
}

// pipeline sends requests in one write and writes down the answers.
func (s *script) pipeline(reqs ...kmsg.Request) {
	s.tree.mine = true
	defer func() { s.tree.mine = false }()
	c := s.line()
	var frames []byte
	first := c.correlation + 1
	for _, req := range reqs {
		req.SetVersion(s.broker.newest[req.Key()])
		frames = append(frames, c.frame(req)...)
	}
	s.check(c.send(frames))
	for i, req := range reqs {
		p, err := c.read()
		s.check(err)
		resp, body, err := decode(req, first+int32(i), p)
		s.check(err)
		s.step++
		s.tree.answer(fmt.Sprintf("%d.", s.step), resp, body)
	}
}
