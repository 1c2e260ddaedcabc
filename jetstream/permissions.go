package jetstream

import "github.com/nats-io/nats-server/v2/server"

// Users of the embedded server when it has a port. Whoever connects without a name is a service.
const (
	userSelf    = "parley"
	userService = "service"
)

// servicePermissions let a service read the log with consumers of its own and ask for the watermark.
// It writes nothing: only sequencers publish records, and one foreign message with a wrong expectation
// can stop a replicated stream for good. Who is online concerns people alone: services see nothing of it.
func servicePermissions() *server.Permissions {
	publish := []string{
		"$JS.API.INFO",
		"$JS.API.STREAM.INFO.*", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST",
		"$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.>",
		"$JS.API.CONSUMER.>", "$JS.ACK.>", "$JS.FC.>",
		subjectDurable + "*", subjectAsk + ">",
	}
	var denied []string
	for _, name := range ownConsumers() {
		denied = append(denied,
			"$JS.API.CONSUMER.*.*."+name, "$JS.API.CONSUMER.*.*."+name+".>",
			"$JS.API.CONSUMER.*.*.*."+name, "$JS.API.CONSUMER.*.*.*."+name+".>",
			"$JS.ACK.*."+name+".>", "$JS.ACK.*.*.*."+name+".>")
	}
	for _, bucket := range privateBuckets() {
		stream := bucketStreamName(bucket)
		denied = append(denied,
			"$JS.API.STREAM.MSG.GET."+stream, "$JS.API.DIRECT.GET."+stream, "$JS.API.DIRECT.GET."+stream+".>",
			"$JS.API.CONSUMER.*."+stream, "$JS.API.CONSUMER.*."+stream+".>", "$JS.API.CONSUMER.*.*."+stream+".>")
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish, Deny: denied},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}
}

func privateBuckets() []string {
	buckets := []string{BucketEdges}
	for shard := range PresenceShards {
		buckets = append(buckets, PresenceBucket(shard))
	}
	return buckets
}
