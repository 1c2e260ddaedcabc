package sqlite

// cache is a bounded map with two generations: when the young one is full the old one is dropped, so
// what was used lately stays. Not safe for concurrent use.
type cache[K comparable, V any] struct {
	half       int // most entries of one generation
	young, old map[K]V
}

func newCache[K comparable, V any](most int) *cache[K, V] {
	return &cache[K, V]{half: max(most/2, 1), young: map[K]V{}, old: map[K]V{}}
}

func (c *cache[K, V]) get(key K) (V, bool) {
	if v, ok := c.young[key]; ok {
		return v, true
	}
	v, ok := c.old[key]
	if ok {
		c.put(key, v)
	}
	return v, ok
}

func (c *cache[K, V]) put(key K, v V) {
	if len(c.young) >= c.half {
		c.old, c.young = c.young, make(map[K]V, c.half/4)
	}
	c.young[key] = v
}

func (c *cache[K, V]) clear() {
	clear(c.young)
	clear(c.old)
}
