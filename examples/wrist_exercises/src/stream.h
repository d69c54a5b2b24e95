/*
 * stream.h - from a sensor's samples, one by one, to what the network takes: pieces of 16.
 */
#ifndef STREAM_H
#define STREAM_H

#include <DeepCompress.h>

class Stream {
  public:
    static const int axes = 6;
    static const int pieceSamples = DeepCompress::Exercises::inputSize / axes;

    /* Takes one sample, and tells whether it completed a piece. Axes are parts of their full scale.
     */
    bool add(const int16_t sample[axes]) {
        for (int axis = 0; axis < axes; ++axis) {
            piece_[axis][count_] = sample[axis] / 32768.0f;
        }
        count_ = (count_ + 1) % pieceSamples;
        return count_ == 0;
    }

    /* The last piece, to be used before the next add(). */
    const float (&piece() const)[axes][pieceSamples] {
        return piece_;
    }

  private:
    float piece_[axes][pieceSamples];
    int count_ = 0;
};

#endif
