// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/lvs-fnat/lvs/internal/config"
)

// static goes from one set of static objects to another: new ones first, in the
// order of addresses, routes, rules, then what is no longer wanted, in reverse.
func (e *Engine) static(_ context.Context, from, to config.Static) {
	for _, a := range to.Addrs {
		if !has(from.Addrs, a) {
			e.warn(e.staticAddr(a, e.host.AddAddr))
		}
	}
	for _, r := range to.Routes {
		if !has(from.Routes, r) {
			e.warn(e.host.AddRoute(r, e.links.index))
		}
	}
	for _, r := range to.Rules {
		if !has(from.Rules, r) {
			e.warn(e.host.AddRule(r))
		}
	}
	for _, r := range slices.Backward(from.Rules) {
		if !has(to.Rules, r) {
			e.warn(e.host.DelRule(r))
		}
	}
	for _, r := range slices.Backward(from.Routes) {
		if !has(to.Routes, r) {
			e.warn(e.host.DelRoute(r, e.links.index))
		}
	}
	for _, a := range slices.Backward(from.Addrs) {
		if !has(to.Addrs, a) {
			e.warn(e.staticAddr(a, e.host.DelAddr))
		}
	}
}

func (e *Engine) staticAddr(a config.Address, do func(int, config.Address) error) error {
	name := a.Interface
	if name == "" {
		name = "eth0" // default_interface's own default
	}
	index, err := e.links.index(name)
	if err != nil {
		return fmt.Errorf("static address %s: %w", a.Prefix, err)
	}
	return do(index, a)
}

// has compares without the place in the file.
func has[T any](list []T, x T) bool {
	return slices.ContainsFunc(list, func(y T) bool { return same(x, y) })
}

// same is equality of two configured things wherever they stand.
func same[T any](a, b T) bool {
	for _, v := range []reflect.Value{reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem()} {
		if pos := v.FieldByName("Pos"); pos.IsValid() {
			pos.SetZero()
		}
	}
	return reflect.DeepEqual(a, b)
}
