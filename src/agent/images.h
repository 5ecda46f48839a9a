/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_IMAGES_H
#define AGENT_IMAGES_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "model/project.h"

/*
 * Images of this node: fetched by skopeo into an OCI layout, unpacked by umoci, once a digest. What
 * comes from a registry or an archive is hostile: sizes and counts are bounded before anything is
 * unpacked, the digest is checked, and a folder counts only when it was renamed into place whole.
 *
 * DIR/images/<64 hex>/rootfs, config.json (the image's own), done, used (marked by collect.c).
 */
#define IMAGE_BYTES_MAX (INT64_C(20) << 30) /* of all layers, compressed */
#define IMAGE_LAYERS_MAX 512
#define IMAGE_FETCH_TIMEOUT_MS (15 * 60 * 1000)
#define IMAGE_UNPACK_TIMEOUT_MS (10 * 60 * 1000)

#define IMAGE_KEEP_MS (INT64_C(24) * 3600 * 1000) /* after its last use; then it is removed */
#define IMAGE_LOOKS 24                            /* at what is used, in that time */

struct images;

int images_new(uv_loop_t *loop, const char *dir, struct images **ret, struct sk_err *err);

/* err == NULL: hex names the unpacked image. */
typedef void images_ready_fn(void *ctx, const char *hex, const struct sk_err *err);
/* Fetches and unpacks unless it is there. Callers of the same image wait together; different images
 * are fetched one after the other. done may be NULL (prefetch); it never runs inside this call. */
void images_want(struct images *images, struct sk_str ref, struct sk_str digest,
                 images_ready_fn *done, void *ctx);
/* The image's own configuration, and where its files are, relative to an instance's folder. */
struct image_config {
    struct argv entrypoint, command, environment;
    struct sk_str user, working_dir, stop_signal;
};
int images_config(const struct images *images, const char *hex, struct sk_arena *arena,
                  struct image_config *ret, struct sk_err *err);
void images_rootfs(const struct images *images, const char *hex, char *out, size_t size);
/* Where an image without a digest was last unpacked to: 64 hex digits. False: it was not. */
bool images_hex_of(const struct images *images, struct sk_str ref, struct sk_str digest,
                   char out[65]);

/* True while a job waits to fetch this image, or is at it. */
bool images_fetching(const struct images *images, const char *hex);
/* Away from where it is found, at once; its files go in the background. */
bool images_remove(const struct images *images, const char *hex);

/* skopeo's name of a reference: "docker://registry/x:1", "oci:/path:tag", "oci-archive:/path",
 * "docker-archive:/path". SK_ERR_INPUT for any other. */
int image_source(struct sk_str ref, struct sk_str digest, struct sk_arena *arena,
                 struct sk_str *ret_source, bool *ret_insecure, struct sk_err *err);
/* Checks an image's manifest: digests, media types, counts and sizes. */
int image_check_manifest(struct sk_str json, struct sk_arena *arena, int64_t *ret_bytes,
                         struct sk_str *ret_config_digest, struct sk_err *err);

#endif
