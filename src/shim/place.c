/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim/link.h"

/*
 * The namespaces of an instance belong to its shim: mounts and the network end with the last
 * process in them, so nothing has to be cleaned up after a crash, and nothing can leak.
 */
static int place_mounts(const struct shim_config *config, struct shim_reason *reason)
{
    char options[2048];
    int n;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0) {
        return shim_fail_errno(reason, "make a mount namespace");
    }
    if (config->hybrid_cgroup && umount2("/sys/fs/cgroup/unified", MNT_DETACH) < 0 &&
        errno != EINVAL && errno != ENOENT) {
        return shim_fail_errno(reason, "hide '/sys/fs/cgroup/unified'");
    }
    if (!config->lower) {
        return 0;
    }
    for (size_t i = 0; i < 3; i++) {
        static const char *const folders[] = {"upper", "work", "rootfs"};
        if (mkdir(folders[i], 0755) < 0 && errno != EEXIST) {
            return shim_fail_errno(reason, "make folder '%s/%s'", config->dir, folders[i]);
        }
    }
    /* Relative to the instance's folder: no path of the host needs escaping. */
    n = snprintf(options, sizeof(options), "lowerdir=%s,upperdir=upper,workdir=work",
                 config->lower);
    if (n < 0 || n >= (int)sizeof(options)) {
        return shim_fail(reason, "the path of the image is too long");
    }
    if (mount("overlay", "rootfs", "overlay", 0, options) < 0) {
        return shim_fail_errno(reason, "mount the image");
    }
    return 0;
}

int shim_place(const struct shim_config *config, struct shim_reason *reason)
{
    if ((config->lower || config->hybrid_cgroup) && place_mounts(config, reason) < 0) {
        return -1;
    }
    if (config->bridge) {
        const struct link_instance link = {.bridge = config->bridge,
                                           .veth = config->veth,
                                           .address = config->address,
                                           .gateway = config->gateway};
        return link_instance_up(&link, reason->text, sizeof(reason->text));
    }
    return 0;
}
