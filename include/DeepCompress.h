/*
 * DeepCompress.h - neural networks compiled from PyTorch, for Arduino and any other C++11.
 *
 *     #include <DeepCompress.h>
 *     DeepCompress::Lenet5 model;                    // contains its working memory
 *     auto result = model.infer(image);              // raw bytes, floats, or int8
 *     Serial.println(result.label());
 *
 * The build generates the class of each model (here Lenet5, from lenet5.pt) from the .pt file that
 * platformio.ini names. In the Arduino IDE and other builds without the generator, run
 * `deepcompress compile` and include the file that it writes, "lenet5.hpp", instead. No heap, no
 * exceptions, no global state. From C, include the generated lenet5.h.
 */
#ifndef DEEPCOMPRESS_H
#define DEEPCOMPRESS_H

#ifndef __cplusplus
#error "DeepCompress.h is C++. From C, include the model's own header, such as lenet5.h."
#endif

#include <stddef.h>
#include <stdint.h>

#include "deepcompress/model.h"

namespace DeepCompress {

/* All of the library's own names: those next to it are the classes of models, such as Lenet5. */
namespace detail {

template <int size> class CopiedScores {
  public:
    explicit CopiedScores(const int8_t *scores) {
        for (int i = 0; i < size; ++i) {
            scores_[i] = scores[i];
        }
    }
    const int8_t *data() const {
        return scores_;
    }

  private:
    int8_t scores_[static_cast<size_t>(size)];
};

/* A pointer to the scores in the arena. */
class ScoresInArena {
  public:
    explicit ScoresInArena(const int8_t *scores) : scores_(scores) {}
    const int8_t *data() const {
        return scores_;
    }

  private:
    const int8_t *scores_;
};

/* Two classes instead of a specialization of one, whose members cppcheck mixes up. */
template <int size, bool copied> struct Scores {
    typedef CopiedScores<size> Type;
};
template <int size> struct Scores<size, false> {
    typedef ScoresInArena Type;
};

/*
 * The outputs of a network for one input. With up to 128 outputs it is a copy. With more (such as
 * an image) it reads the model's arena: use it before the next infer() of any model in that arena.
 */
template <class Network> class Result {
  public:
    explicit Result(const int8_t *scores) : scores_(scores) {}

    /* Number of outputs. */
    static constexpr int size() {
        return Network::outputSize;
    }

    /* Index of the greatest score: the class of a classifier. */
    int index() const {
        return dc_argmax(scores(), size());
    }

    /* Name of that class. Without labels, its index as text, or "" with more than 100 classes. */
    const char *label() const {
        return Network::label(index());
    }

    /* The int8 score of output i, 0 .. size() - 1. */
    int8_t score(int i) const {
        return scores()[i];
    }

    /* The real number that score(i) represents; it approximates the output in PyTorch. */
    float value(int i) const {
        return Network::dequantize(score(i));
    }

    /* All scores, size() of them. */
    const int8_t *scores() const {
        return scores_.data();
    }

  private:
    typename detail::Scores<Network::outputSize, (Network::outputSize <= 128)>::Type scores_;
};

template <class T> struct Element {
    typedef T Type;
    enum : int { count = -1 };
};
template <class T> struct Element<const T> : Element<T> {};
template <class T, size_t N> struct Element<T[N]> {
    typedef typename Element<T>::Type Type;
    enum : int { count = static_cast<int>(N) * (Element<T>::count < 0 ? 1 : Element<T>::count) };
};
template <class T, size_t N> struct Element<const T[N]> : Element<T[N]> {};
template <class T> struct Element<T *> {
    typedef typename Element<T>::Type Type;
    enum : int { count = -1 };
};

template <class T> struct IsInput {
    enum : bool { value = false };
};
template <> struct IsInput<int8_t> {
    enum : bool { value = true };
};
template <> struct IsInput<uint8_t> {
    enum : bool { value = true };
};
template <> struct IsInput<float> {
    enum : bool { value = true };
};
template <class T> struct IsByte {
    enum : bool { value = false };
};
template <> struct IsByte<uint8_t> {
    enum : bool { value = true };
};

/*
 * A network in an arena of the caller. Several models that run one after another may share one
 * arena. A `stateful` model may not share it, because it keeps its state there.
 */
template <class Network> class ModelIn {
  public:
    typedef typename Network::Arena Arena;
    typedef detail::Result<Network> Result;

    static constexpr int inputSize = Network::inputSize;
    static constexpr int outputSize = Network::outputSize;
    static constexpr size_t arenaBytes = sizeof(Arena);

    explicit ModelIn(Arena &arena) : arena_(&arena) {}

    /*
     * Runs the network. `input` is an array of inputSize values with any number of dimensions, or a
     * pointer to inputSize values: uint8_t raw bytes (scaled like the training data), float values
     * as in the training, or int8_t values that are already quantized.
     */
    template <class Input> Result infer(const Input &input) {
        typedef typename detail::Element<Input>::Type Type;
        static_assert(detail::IsInput<Type>::value,
                      "infer() takes an array of, or a pointer to, uint8_t, float or int8_t");
        static_assert(detail::Element<Input>::count < 0 ||
                          static_cast<int>(detail::Element<Input>::count) == Network::inputSize,
                      "infer(): this array does not have as many values as the model has inputs");
        static_assert(
            !detail::IsByte<Type>::value || Network::takesBytes,
            "infer() of raw bytes needs their scaling: set custom_deepcompress_input_mean "
            "and custom_deepcompress_input_std in platformio.ini");
        return Result(Network::infer(arena_, reinterpret_cast<const Type *>(input)));
    }

    /* Name of a class. Without labels, its index as text, or "" with more than 100 classes. */
    static const char *label(int index) {
        return Network::label(index);
    }

    /* The int8 to which infer() converts a float input. */
    static int8_t quantize(float value) {
        return Network::quantize(value);
    }

    /* Clears the state. Call it before the first infer() of a `stateful` network. */
    void reset() {
        Network::reset(arena_);
    }

    /*
     * Compares the constants in flash with their CRC-32, then the scores of the golden vectors with
     * those computed on the PC. DC_OK, or DC_SELF_TEST_FAILED. Call it before the first infer(),
     * which does not check the constants.
     */
    dc_status selfTest() {
        static_assert(Network::goldenVectors > 0 || sizeof(Network) == 0,
                      "selfTest() needs golden vectors: set custom_deepcompress_self_test = 1 in "
                      "platformio.ini");
        return Network::selfTest(arena_);
    }

    /* The same, and what differs first: the constants, a layer (by index and name), the scores. */
    dc_self_test_result selfTestResult() {
        static_assert(Network::goldenVectors > 0 || sizeof(Network) == 0,
                      "selfTestResult() needs golden vectors: set "
                      "custom_deepcompress_self_test = 1 in platformio.ini");
        return Network::selfTestResult(arena_);
    }

  private:
    Arena *arena_;
};

/* Since C++17, the declaration in a class is the definition. */
#if __cplusplus < 201703L
template <class Network> constexpr int ModelIn<Network>::inputSize;
template <class Network> constexpr int ModelIn<Network>::outputSize;
template <class Network> constexpr size_t ModelIn<Network>::arenaBytes;
#endif

/* A network that contains its arena. */
template <class Network> class Model {
  public:
    typedef ModelIn<Network> In;
    typedef detail::Result<Network> Result;

    static constexpr int inputSize = Network::inputSize;
    static constexpr int outputSize = Network::outputSize;
    static constexpr size_t arenaBytes = sizeof(typename Network::Arena);

    Model() {
        reset();
    }

    template <class Input> Result infer(const Input &input) {
        return In(*arena_).infer(input);
    }

    static const char *label(int index) {
        return Network::label(index);
    }

    static int8_t quantize(float value) {
        return Network::quantize(value);
    }

    void reset() {
        In(*arena_).reset();
    }

    dc_status selfTest() {
        return In(*arena_).selfTest();
    }

    dc_self_test_result selfTestResult() {
        return In(*arena_).selfTestResult();
    }

  private:
    /* An array, because -Weffc++ wants any other member initialized, which would clear it twice. */
    typename Network::Arena arena_[1];
};

#if __cplusplus < 201703L
template <class Network> constexpr int Model<Network>::inputSize;
template <class Network> constexpr int Model<Network>::outputSize;
template <class Network> constexpr size_t Model<Network>::arenaBytes;
#endif

} // namespace detail

} // namespace DeepCompress

/* A model's header includes this file for the classes above, and defines this macro first. */
#if !defined(DEEPCOMPRESS_HAS_MODEL)
#if defined(__has_include)
#if __has_include("DeepCompressModels.h")
#include "DeepCompressModels.h"
#else
#error "DeepCompress has no model: name one in platformio.ini, custom_deepcompress_model = net.pt"
#endif
#else
#include "DeepCompressModels.h"
#endif
#endif

#endif
