/*
 * lenet5_float.h - the same network in plain float C, for comparison.
 */
#ifndef LENET5_FLOAT_H
#define LENET5_FLOAT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Layers alternately read one buffer and write the other. */
typedef struct {
    float even[32 * 32];
    float odd[6 * 14 * 14];
} lenet5_float_arena;

/* Runs the network on 32 x 32 raw bytes. Returns 10 scores, which are stored in the arena. */
const float *lenet5_float_infer_uint8(lenet5_float_arena *arena, const uint8_t *pixels);

#ifdef __cplusplus
}

/* The part of DeepCompress::Lenet5 that host.cpp uses. */
class FloatLenet5 {
  public:
    enum : int { inputSize = 32 * 32, outputSize = 10 };

    class Result {
      public:
        explicit Result(const float *scores) : scores_(scores) {}
        const float *scores() const {
            return scores_;
        }
        float value(int i) const {
            return scores_[i];
        }
        int index() const {
            int best = 0;
            for (int i = 1; i < outputSize; ++i) {
                best = scores_[i] > scores_[best] ? i : best;
            }
            return best;
        }

      private:
        const float *scores_;
    };

    Result infer(const uint8_t *pixels) {
        return Result(lenet5_float_infer_uint8(&arena_, pixels));
    }

  private:
    lenet5_float_arena arena_;
};
#endif

#endif
