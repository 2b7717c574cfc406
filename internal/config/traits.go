// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"
	"strings"
)

// shelf keeps one of each value: thousands of servers have the same.
type shelf[T comparable] struct {
	last *T // very often the next is the same
	all  map[T]*T
}

// get gives what is kept of v. It holds no text of a file.
func (s *shelf[T]) get(v *T) *T {
	if s.last != nil && *s.last == *v {
		return s.last
	}
	kept := s.all[*v]
	if kept == nil {
		if s.all == nil {
			s.all = map[T]*T{}
		}
		own := *v
		detach(&own)
		kept = &own
		s.all[own] = kept
	}
	s.last = kept
	return kept
}

// detach has every string below the pointer v be a copy of its own: as words of a file
// they would keep the whole of its text in memory. Nobody else uses what v refers to
// meanwhile.
func detach(v any) { detacher{}.walk(reflect.ValueOf(v)) }

// detacher are the pointers that have been followed.
type detacher map[any]bool

func (d detacher) walk(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() && v.Len() > 0 {
			v.SetString(strings.Clone(v.String()))
		}
	case reflect.Pointer:
		if p := v.Interface(); !v.IsNil() && !d[p] {
			d[p] = true
			d.walk(v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Pos]() {
			return // the name of a file is no word of it
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				d.walk(f)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			d.walk(v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			key, value := reflect.New(k.Type()), reflect.New(v.Type().Elem())
			key.Elem().Set(k)
			value.Elem().Set(v.MapIndex(k))
			d.walk(key.Elem())
			d.walk(value.Elem())
			v.SetMapIndex(k, reflect.Value{})
			v.SetMapIndex(key.Elem(), value.Elem())
		}
	}
}
