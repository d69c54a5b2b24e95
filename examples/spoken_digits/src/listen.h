/*
 * listen.h - feeds a word to the network, frame by frame.
 */
#ifndef LISTEN_H
#define LISTEN_H

#include <DeepCompress.h>

#include "words.h"

typedef DeepCompress::Digits Network;

/* The network's result for the word so far, after its next frame of 25 ms. */
inline Network::Result hear(Network &network, const int16_t (&coefficients)[Network::inputSize]) {
    float frame[Network::inputSize];
    for (int i = 0; i < Network::inputSize; ++i) {
        frame[i] = (coefficients[i] / 10.0f - feature_mean[i]) / feature_deviation[i];
    }
    return network.infer(frame);
}

#endif
