package conversation

import (
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// PageQuery asks for one page of a conversation's history as one member may see it.
// At most one of Before, After, Around, At is set; none means the newest page.
type PageQuery struct {
	Answer  Answer     // from the partition's owner, asked for this read
	Visible []Interval // what the reader may see, ascending, disjoint; Removed 0 = open end
	Limit   int        // items, 1 to 100
	Before  *chat.Position
	After   *chat.Position
	Around  *chat.Position
	At      time.Time
}

// Page is a page of history: every kind but edits and deletes, which are folded into their targets.
// FromSeq..ToSeq is the range covered (0, 0 when empty), so that density can be checked.
type Page struct {
	Messages   [][]byte // record JSON, ascending
	FromSeq    chat.Seq
	ToSeq      chat.Seq
	Head       chat.Head
	MoreBefore bool
	MoreAfter  bool
}

// RecordsQuery asks for the newest records of a conversation above After, as in the log.
type RecordsQuery struct {
	Answer   Answer
	Visible  []Interval
	After    chat.Seq
	Messages int // most messages (0: none, only the gap and the head)
	Records  int // most records
}

// Records answers a RecordsQuery: ascending, deletes applied. When not all fitted, those with
// After < seq < Before are left out.
type Records struct {
	Records [][]byte
	After   chat.Seq
	Before  chat.Seq // 0: nothing was left out
}
