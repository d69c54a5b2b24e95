/*
 * motion.h - collects a sensor's samples into the network's inputs: chunks of 16 samples, int8.
 */
#ifndef MOTION_H
#define MOTION_H

#include <DeepCompress.h>

class Motion {
  public:
    static const int axes = 6;
    static const int chunkSamples = DeepCompress::Exercises::inputSize / axes;

    /* Adds one sample; 32,768 is the full scale of an axis. Returns whether a chunk is complete. */
    bool add(const int16_t sample[axes]) {
        for (int axis = 0; axis < axes; ++axis) {
            chunk_[axis][count_] = DeepCompress::Exercises::quantize(sample[axis] / 32768.0f);
        }
        count_ = (count_ + 1) % chunkSamples;
        return count_ == 0;
    }

    /* The last chunk. Use it before the next add(). */
    const int8_t (&chunk() const)[axes][chunkSamples] {
        return chunk_;
    }

  private:
    int8_t chunk_[axes][chunkSamples];
    int count_ = 0;
};

#endif
