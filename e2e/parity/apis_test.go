//go:build parity

package parity

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// apis are the scenes by API. What is not here is not compared, in the list of
// ApiVersions neither.
var apis map[kmsg.Key][]scene

func init() {
	apis = map[kmsg.Key][]scene{
		kmsg.Produce:                    slices.Concat(produceScenes, spoiledScenes, idempotentScenes),
		kmsg.Fetch:                      slices.Concat(fetchScenes, sessionScenes),
		kmsg.ListOffsets:                listOffsetsScenes,
		kmsg.Metadata:                   metadataScenes,
		kmsg.OffsetCommit:               offsetCommitScenes,
		kmsg.OffsetFetch:                offsetFetchScenes,
		kmsg.FindCoordinator:            findCoordinatorScenes,
		kmsg.JoinGroup:                  slices.Concat(joinGroupScenes, joinGroupTogetherScenes, staticScenes, joinGroupLateScenes),
		kmsg.Heartbeat:                  heartbeatScenes,
		kmsg.LeaveGroup:                 leaveGroupScenes,
		kmsg.SyncGroup:                  syncGroupScenes,
		kmsg.DescribeGroups:             describeGroupsScenes,
		kmsg.ListGroups:                 listGroupsScenes,
		kmsg.ApiVersions:                slices.Concat(apiVersionsScenes, garbageScenes),
		kmsg.CreateTopics:               createTopicsScenes,
		kmsg.DeleteTopics:               deleteTopicsScenes,
		kmsg.DeleteRecords:              deleteRecordsScenes,
		kmsg.InitProducerID:             initProducerIDScenes,
		kmsg.OffsetForLeaderEpoch:       offsetForLeaderEpochScenes,
		kmsg.DescribeConfigs:            describeConfigsScenes,
		kmsg.AlterConfigs:               alterConfigsScenes,
		kmsg.DescribeLogDirs:            describeLogDirsScenes,
		kmsg.CreatePartitions:           createPartitionsScenes,
		kmsg.DeleteGroups:               deleteGroupsScenes,
		kmsg.ElectLeaders:               electLeadersScenes,
		kmsg.IncrementalAlterConfigs:    incrementalAlterConfigsScenes,
		kmsg.ListPartitionReassignments: listPartitionReassignmentsScenes,
		kmsg.OffsetDelete:               offsetDeleteScenes,
		kmsg.DescribeCluster:            describeClusterScenes,
		kmsg.DescribeTopicPartitions:    describeTopicPartitionsScenes,
	}
}
