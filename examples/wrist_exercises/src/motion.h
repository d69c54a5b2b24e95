/*
 * motion.h - from a sensor's samples, one by one, to what the network takes: pieces of 16, int8.
 */
#ifndef MOTION_H
#define MOTION_H

#include <DeepCompress.h>

class Motion {
  public:
    static const int axes = 6;
    static const int pieceSamples = DeepCompress::Exercises::inputSize / axes;

    /* Takes one sample, 32,768 being an axis' full scale; tells whether it completed a piece. */
    bool add(const int16_t sample[axes]) {
        for (int axis = 0; axis < axes; ++axis) {
            piece_[axis][count_] = DeepCompress::Exercises::quantize(sample[axis] / 32768.0f);
        }
        count_ = (count_ + 1) % pieceSamples;
        return count_ == 0;
    }

    /* The last piece, to be used before the next add(). */
    const int8_t (&piece() const)[axes][pieceSamples] {
        return piece_;
    }

  private:
    int8_t piece_[axes][pieceSamples];
    int count_ = 0;
};

#endif
