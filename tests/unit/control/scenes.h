/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_CONTROL_SCENES_H
#define TEST_CONTROL_SCENES_H

/* Declarations that several tests use. */
#define SERVICE(name, image, replicas, more)                                   \
    "\"" name "\":{\"image\":\"" image "\",\"deploy\":{\"replicas\":" replicas \
    ",\"resources\":{\"limits\":{\"cpus\":\"0.5\",\"memory\":\"256M\"}}}" more "}"
#define ROUTE ",\"x-skerry\":{\"route\":{\"host\":\"shop.example.com\",\"port\":8000}}"
#define SURVIVE                                                                \
    ",\"x-skerry\":{\"survive\":{\"sites\":1,\"keep\":4},\"route\":{\"host\":" \
    "\"shop.example.com\",\"port\":8000}}"
#define PROJECT(name, services) "{\"name\":\"" name "\",\"services\":{" services "}}"
#define WEB(replicas, image) PROJECT("shop", SERVICE("web", image, replicas, ROUTE))
#define WEB_SAFE(image) PROJECT("shop", SERVICE("web", image, "6", SURVIVE))

#endif
