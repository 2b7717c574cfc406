// SPDX-License-Identifier: Apache-2.0

package main

import (
	"iter"
	"slices"
)

// ordered is a map that remembers the order in which its keys came. The zero
// value is empty.
type ordered[K comparable, V any] struct {
	keys []K
	at   map[K]*V
}

// get returns the value of key, nil if there is none.
func (o *ordered[K, V]) get(key K) *V { return o.at[key] }

// put sets the value of key and returns where it is.
func (o *ordered[K, V]) put(key K, v V) *V {
	if o.at == nil {
		o.at = map[K]*V{}
	}
	if _, ok := o.at[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.at[key] = &v
	return &v
}

// drop takes key away, if it is there.
func (o *ordered[K, V]) drop(key K) {
	if _, ok := o.at[key]; ok {
		delete(o.at, key)
		o.keys = slices.DeleteFunc(o.keys, func(k K) bool { return k == key })
	}
}

// all walks the values in order.
func (o *ordered[K, V]) all() iter.Seq2[K, *V] {
	return func(yield func(K, *V) bool) {
		for _, k := range o.keys {
			if !yield(k, o.at[k]) {
				return
			}
		}
	}
}
