// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/config"
)

// Registers and bits of linux/mii.h.
const (
	miiBMSR   = 1
	miiLinked = 1 << 2
)

// beats are the ways to ask a driver whether its link has a partner.
var beats = map[config.BeatMethod]func(fd int, link string) (bool, error){
	config.BeatMII: beatMII, config.BeatEthtool: beatEthtool, config.BeatIOCTL: beatFlags,
}

// Beat asks the driver of a link whether it has a partner. Method 0 takes the first
// that the driver knows, and is answered with that. Without an answer err says why.
func Beat(link string, method config.BeatMethod) (up bool, used config.BeatMethod, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, method, err
	}
	defer unix.Close(fd)
	if method != 0 {
		up, err = beats[method](fd, link)
		return up, method, err
	}
	var errs []error
	for m := config.BeatMII; m <= config.BeatIOCTL; m++ {
		if up, err = beats[m](fd, link); err == nil {
			return up, m, nil
		}
		errs = append(errs, err)
	}
	return false, 0, errors.Join(errs...)
}

// request is struct ifreq with room for what the calls below put behind the name.
type request struct {
	name [unix.IFNAMSIZ]byte
	data [24]byte
}

func requestOf(link string) (*request, error) {
	r := &request{}
	if len(link) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("%s: longer than a name of a link can be", link)
	}
	copy(r.name[:], link)
	return r, nil
}

func (r *request) call(fd int, number uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), number, uintptr(unsafe.Pointer(r))); errno != 0 {
		return errno
	}
	return nil
}

// beatMII reads the status register of the transceiver twice: the bit of a lost
// link stays until it was read.
func beatMII(fd int, link string) (bool, error) {
	r, err := requestOf(link)
	if err != nil {
		return false, err
	}
	if err := r.call(fd, unix.SIOCGMIIPHY); err != nil {
		return false, fmt.Errorf("MII of %s: %w", link, err)
	}
	// struct mii_ioctl_data: phy_id, reg_num, val_in, val_out, of 16 bits each.
	words := (*[4]uint16)(unsafe.Pointer(&r.data))
	words[1] = miiBMSR
	for range 2 {
		if err := r.call(fd, unix.SIOCGMIIREG); err != nil {
			return false, fmt.Errorf("MII of %s: %w", link, err)
		}
	}
	return words[3]&miiLinked != 0, nil
}

func beatEthtool(fd int, link string) (bool, error) {
	r, err := requestOf(link)
	if err != nil {
		return false, err
	}
	value := &[2]uint32{unix.ETHTOOL_GLINK, 0}
	*(*unsafe.Pointer)(unsafe.Pointer(&r.data)) = unsafe.Pointer(value)
	if err := r.call(fd, unix.SIOCETHTOOL); err != nil {
		return false, fmt.Errorf("ETHTOOL of %s: %w", link, err)
	}
	return value[1] != 0, nil
}

func beatFlags(fd int, link string) (bool, error) {
	r, err := requestOf(link)
	if err != nil {
		return false, err
	}
	if err := r.call(fd, unix.SIOCGIFFLAGS); err != nil {
		return false, fmt.Errorf("IOCTL of %s: %w", link, err)
	}
	const running = unix.IFF_UP | unix.IFF_RUNNING
	return *(*uint16)(unsafe.Pointer(&r.data))&running == running, nil
}
