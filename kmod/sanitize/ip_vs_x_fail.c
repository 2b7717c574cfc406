// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which allocation of ours fails, see the header. The parameter fail of ip_vs counts
 * down: with N the Nth from now on fails, and none after it; it reads what is left
 * to count, 0 once that one has failed. The log names its site.
 */
#include "ip_vs_x_fail.h"
#include <linux/atomic.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

static atomic_t x_left = ATOMIC_INIT(0);

static int x_fail_set(const char *val, const struct kernel_param *kp)
{
	unsigned int n;
	int err = kstrtouint(val, 0, &n);

	if (!err)
		atomic_set(&x_left, n);
	return err;
}

static int x_fail_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%d\n", atomic_read(&x_left));
}

static const struct kernel_param_ops x_fail_ops = {
	.set = x_fail_set,
	.get = x_fail_get,
};

module_param_cb(fail, &x_fail_ops, NULL, 0644);
MODULE_PARM_DESC(fail, "the number, from now on, of the allocation that fails");

bool ip_vs_x_fail(const char *site)
{
	if (atomic_dec_if_positive(&x_left) != 0)
		return false;
	pr_info("ip_vs_x_fail: no memory for %s\n", kbasename(site));
	return true;
}
