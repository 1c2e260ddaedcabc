package fanout

import "container/list"

// lru keeps the values used last, up to a total weight. Not safe for concurrent use.
type lru[K comparable, V any] struct {
	most   int
	weight func(V) int // nil: 1 each
	total  int
	order  *list.List // front: used last
	index  map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key    K
	value  V
	weight int
}

func newLRU[K comparable, V any](most int, weight func(V) int) *lru[K, V] {
	return &lru[K, V]{most: most, weight: weight, order: list.New(), index: make(map[K]*list.Element)}
}

func (l *lru[K, V]) get(key K) (V, bool) {
	at, ok := l.index[key]
	if !ok {
		var none V
		return none, false
	}
	l.order.MoveToFront(at)
	return entryOf[K, V](at).value, true
}

// put keeps value; the newest stays even when it alone is above the bound.
func (l *lru[K, V]) put(key K, value V) {
	weight := 1
	if l.weight != nil {
		weight = l.weight(value)
	}
	if at, ok := l.index[key]; ok {
		e := entryOf[K, V](at)
		l.total += weight - e.weight
		e.value, e.weight = value, weight
		l.order.MoveToFront(at)
	} else {
		l.index[key] = l.order.PushFront(&lruEntry[K, V]{key, value, weight})
		l.total += weight
	}
	for l.total > l.most && l.order.Len() > 1 {
		l.drop(l.order.Back())
	}
}

func (l *lru[K, V]) remove(key K) {
	if at, ok := l.index[key]; ok {
		l.drop(at)
	}
}

func (l *lru[K, V]) drop(at *list.Element) {
	e := entryOf[K, V](at)
	l.total -= e.weight
	delete(l.index, e.key)
	l.order.Remove(at)
}

func entryOf[K comparable, V any](at *list.Element) *lruEntry[K, V] {
	return at.Value.(*lruEntry[K, V]) // nothing else is put into the list
}
