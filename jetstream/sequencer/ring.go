package sequencer

// ring is a growing queue; it gives memory back when it has emptied. The zero value is empty.
type ring[T any] struct {
	items []T
	head  int
	count int
}

const ringKeeps = 64 // slots kept when empty

func (r *ring[T]) len() int { return r.count }

func (r *ring[T]) push(v T) {
	r.grow()
	r.items[(r.head+r.count)%len(r.items)] = v
	r.count++
}

func (r *ring[T]) pushFront(v T) {
	r.grow()
	r.head = (r.head - 1 + len(r.items)) % len(r.items)
	r.items[r.head] = v
	r.count++
}

// front is the oldest; the ring must not be empty.
func (r *ring[T]) front() T { return r.items[r.head] }

func (r *ring[T]) pop() T {
	var zero T
	v := r.items[r.head]
	r.items[r.head] = zero
	r.head = (r.head + 1) % len(r.items)
	r.count--
	if r.count == 0 && len(r.items) > ringKeeps {
		r.items, r.head = nil, 0
	}
	return v
}

func (r *ring[T]) grow() {
	if r.count < len(r.items) {
		return
	}
	items := make([]T, max(4, 2*len(r.items)))
	n := copy(items, r.items[r.head:])
	copy(items[n:], r.items[:r.head])
	r.items, r.head = items, 0
}
