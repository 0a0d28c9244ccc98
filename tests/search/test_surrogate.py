import math

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern

from kbn.search import gaussian_process
from kbn.search.gaussian_process import SURROGATE, GaussianProcess, fit, prior
from kbn.search.surrogate import Surrogate, warp

MIXED = np.array([False, False, True])  # two numbers and a choice of three
THETA = np.log([0.4, 1.5, 0.8, 1.3, 0.02, 0.7])  # lengths, signal, noise, trend


def data(n=25, unordered=MIXED, seed=0):
    """Points and losses of unit variance."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, len(unordered)))
    x[:, unordered] = rng.choice([1 / 6, 1 / 2, 5 / 6], (n, unordered.sum()))
    z = np.sin(5 * x[:, 0]) + x.sum(1) + (x[:, -1] > 0.6) + 0.1 * rng.normal(size=n)
    return x, (z - z.mean()) / z.std()


def covariance(a, b, unordered, theta):
    """The kernel of the glossary, pair by pair, shape (len(a), len(b))."""
    d = len(unordered)
    lengths, (signal, _, trend) = np.exp(theta[:d]), np.exp(theta[d:])
    k = np.empty((len(a), len(b)))
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            apart = np.where(unordered, one != other, one - other) / lengths
            r = math.sqrt(5) * math.sqrt((apart**2).sum())
            matern = (1 + r + r**2 / 3) * math.exp(-r)
            plane = ((one - 0.5) * (other - 0.5))[~unordered].sum()
            k[i, j] = signal * matern + trend * plane
    return k


def with_noise(x, unordered, theta):
    noise = math.exp(theta[len(unordered) + 1]) + SURROGATE.jitter
    return covariance(x, x, unordered, theta) + noise * np.eye(len(x))


@pytest.fixture
def loss_of_fit(monkeypatch):
    """Gives what `fit` would minimize: a function of theta that returns the loss, its gradient."""

    def reach(x, z, unordered):
        caught = []

        def minimize(loss, start, **_):
            caught.append(loss)
            return optimize.OptimizeResult(x=start)

        with monkeypatch.context() as patch:
            patch.setattr(gaussian_process.optimize, "minimize", minimize)
            fit(x, z, unordered, prior(len(unordered))[0])
        return caught[0]

    return reach


# --- the fit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("unordered", [MIXED, MIXED[:2], MIXED[2:]], ids=["mixed", "none", "all"])
def test_the_gradient_of_the_fits_loss_is_that_of_finite_differences(loss_of_fit, unordered):
    x, z = data(unordered=unordered)
    loss = loss_of_fit(x, z, unordered)
    means, deviations = prior(len(unordered))
    for seed in range(5):
        theta = means + deviations * np.random.default_rng(seed).normal(size=len(means))
        steps = 1e-5 * np.eye(len(theta))
        numeric = [(loss(theta + step)[0] - loss(theta - step)[0]) / 2e-5 for step in steps]
        np.testing.assert_allclose(loss(theta)[1], numeric, rtol=1e-5, atol=1e-5)


def test_the_fits_loss_is_the_negative_log_of_evidence_times_prior(loss_of_fit):
    x, z = data()
    loss = loss_of_fit(x, z, MIXED)
    means, deviations = prior(3)

    def expected(theta):
        evidence = stats.multivariate_normal(cov=with_noise(x, MIXED, theta)).logpdf(z)
        return -evidence - stats.norm(means, deviations).logpdf(theta).sum()

    # but for what does not depend on theta
    thetas = [THETA, means, means + deviations]
    offsets = [loss(theta)[0] - expected(theta) for theta in thetas]
    assert offsets == pytest.approx([offsets[0]] * 3, abs=1e-8)


def test_the_fit_is_a_minimum_within_the_bounds(loss_of_fit):
    x, z = data(40)
    start, _ = prior(3)
    theta, loss = fit(x, z, MIXED, start), loss_of_fit(x, z, MIXED)
    assert loss(theta)[0] < loss(start)[0] - 1
    bounds = [SURROGATE.length_bounds] * 3 + [
        SURROGATE.signal_bounds,
        SURROGATE.noise_bounds,
        SURROGATE.trend_bounds,
    ]
    assert all(low <= t <= high for t, (low, high) in zip(theta, bounds, strict=True))
    for seed in range(20):
        near = theta + 0.3 * np.random.default_rng(seed).normal(size=6)
        assert loss(theta)[0] <= loss(near)[0] + 1e-3


def test_a_theta_without_a_covariance_is_no_obstacle(loss_of_fit):
    x, z = data(10)
    x[:] = x[0]
    loss, gradient = loss_of_fit(x, z, MIXED)(np.array([0, 0, 0, 40.0, -40.0, 0]))
    assert math.isfinite(loss)
    assert np.isfinite(gradient).all()


def test_lengths_are_believed_to_grow_as_distances_in_the_cube_do():
    few, many = (np.exp(prior(dimensions)[0][0]) for dimensions in (1, 16))
    assert many / few == pytest.approx(math.sqrt(16))


def test_a_hyperparameter_that_matters_more_has_a_shorter_length():
    rng = np.random.default_rng(0)
    x = rng.random((40, 2))
    lengths = fit(x, warp(np.sin(6 * x[:, 1])), np.zeros(2, bool), prior(2)[0])
    assert lengths[1] < lengths[0] - 1


# --- the posterior -------------------------------------------------------------------------------


def test_the_posterior_is_that_of_the_textbook():
    (x, z), (at, _) = data(), data(40, seed=1)
    at[:5] = x[:5]  # trials themselves too
    means, deviations = GaussianProcess(x, z, MIXED, THETA).predict(at)
    k, cross = with_noise(x, MIXED, THETA), covariance(at, x, MIXED, THETA)
    np.testing.assert_allclose(means, cross @ np.linalg.inv(k) @ z, atol=1e-5)
    variances = np.diag(covariance(at, at, MIXED, THETA) - cross @ np.linalg.inv(k) @ cross.T)
    np.testing.assert_allclose(deviations, np.sqrt(variances), rtol=1e-4)


def test_the_posterior_is_that_of_scikit_learn():
    numbers = np.zeros(2, bool)
    (x, z), (at, _) = data(unordered=numbers), data(40, numbers, seed=1)
    lengths, (signal, noise, trend) = np.exp(THETA[:2]), np.exp(THETA[3:])
    plane = ConstantKernel(trend) * DotProduct(1e-9)
    kernel = ConstantKernel(signal) * Matern(lengths, nu=2.5) + plane
    theirs = GaussianProcessRegressor(kernel, alpha=noise + SURROGATE.jitter, optimizer=None)
    expected = theirs.fit(x - 0.5, z).predict(at - 0.5, return_std=True)
    ours = GaussianProcess(x, z, numbers, np.delete(THETA, 2)).predict(at)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_without_noise_it_goes_through_the_data_and_is_sure_there():
    x, z = data()
    theta = np.array([*THETA[:4], SURROGATE.noise_bounds[0], THETA[5]])
    process = GaussianProcess(x, z, MIXED, theta)
    means, deviations = process.predict(x)
    np.testing.assert_allclose(means, z, atol=0.01)
    assert deviations.max() < 0.01
    assert process.predict(x + 0.1)[1].min() > 0.05


@pytest.mark.parametrize("length", SURROGATE.length_bounds)
@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_there_is_a_posterior_for_every_theta_that_a_fit_may_find(length, spread):
    x = 0.5 + spread * (np.random.default_rng(0).random((100, 2)) - 0.5)
    theta = np.array(
        [
            length,
            length,
            SURROGATE.signal_bounds[1],
            SURROGATE.noise_bounds[0],
            SURROGATE.trend_bounds[1],
        ]
    )
    z = warp(((x - 0.45) ** 2).sum(1))
    means, deviations = GaussianProcess(x, z, np.zeros(2, bool), theta).predict(x)
    assert np.isfinite(means).all()
    assert np.isfinite(deviations).all()


def test_an_unordered_choice_may_be_numbered_in_any_way():
    (x, z), (at, _) = data(), data(40, seed=1)
    again, there = x.copy(), at.copy()
    for old, new in ((1 / 6, 5 / 6), (1 / 2, 1 / 6), (5 / 6, 1 / 2)):
        again[x[:, 2] == old, 2] = there[at[:, 2] == old, 2] = new
    expected = GaussianProcess(x, z, MIXED, THETA).predict(at)
    np.testing.assert_allclose(GaussianProcess(again, z, MIXED, THETA).predict(there), expected)


# --- what it learns from -------------------------------------------------------------------------

LOSSES = {
    "few": np.array([2.0, 1.0]),
    "odd": np.array([0.3, -1.0, 5.0, 2.0, 100.0, 0.1, 0.2]),
    "even": np.random.default_rng(0).normal(size=30),
    "ties": np.array([1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 7.0, 7.0]),
    "diverged": np.array([0.1, 0.2, 0.3, 0.4, 1e30, 1e30, 1e38]),
    "huge": np.array([1e300, -1e300, 1.7e308, 0.0, 5e299]),
}
of_losses = pytest.mark.parametrize("y", LOSSES.values(), ids=LOSSES)


@of_losses
def test_warped_losses_keep_their_order_and_ties_with_mean_0_and_deviation_1(y):
    z = warp(y)
    assert (z.mean(), z.std()) == pytest.approx((0, 1))
    np.testing.assert_array_equal(np.sign(z[:, None] - z), np.sign(y[:, None] - y))


@of_losses
def test_the_better_half_keeps_the_ratios_of_its_distances(y):
    better = np.sort(y)[: (len(y) + 1) // 2] / 2  # 1e308 must not overflow
    warped = np.sort(warp(y))[: len(better)]
    before, after = better - better[0], warped - warped[0]
    np.testing.assert_allclose(after / (after[-1] or 1), before / (before[-1] or 1), atol=1e-9)


@pytest.mark.parametrize("bad", [1e30, 1e160, 1e300])
@pytest.mark.parametrize("count", [1, 4])
def test_trials_that_diverged_do_not_hide_the_differences_among_good_ones(bad, count):
    good = [0.1, 0.2, 0.3, 0.4]
    z = warp(np.array(good + [bad] * count))
    assert z == pytest.approx(warp(np.array(good + [10.0] * count)))
    assert (np.diff(z[:4]) > 0.1).all()


@of_losses
@pytest.mark.parametrize("power", [-30, 3])
def test_losses_scaled_by_a_power_of_two_are_warped_bit_for_bit_alike(y, power):
    y = y / 2.0**40  # 1e308 must not overflow
    np.testing.assert_array_equal(warp(y * 2.0**power), warp(y))


def test_normally_distributed_losses_stay_as_they_are():
    y = stats.norm.ppf((np.arange(200) + 0.5) / 200)
    np.testing.assert_allclose(warp(7 + 3 * y), y / y.std(), atol=0.02)


@pytest.mark.parametrize("y", [0.0, -3.5, 1e300])
def test_equal_losses_are_all_zero(y):
    assert warp(np.full(5, y)).tolist() == [0] * 5


# --- trial by trial ------------------------------------------------------------------------------


def learned(n=25, levelled=False, levels=None):
    x, z = data(n)
    model = Surrogate(MIXED, levelled)
    assert model.learn(x, np.ones(n) if levels is None else levels, z, n)
    return model, x, z


def test_it_predicts_the_losses_it_learned_from_warped():
    model, x, z = learned()
    means, deviations = model.predict(x)
    assert np.corrcoef(means, warp(z))[0, 1] > 0.95
    np.testing.assert_array_equal(means, model.means)
    assert model.best == means.min()
    assert (deviations > 0).all()


def test_its_parameters_are_fitted_anew_only_when_there_are_enough_new_trials():
    model, x, z = learned(40)
    theta, enough = model.theta, math.ceil(SURROGATE.refit_growth * 40)
    assert enough > 41
    assert not model.learn(x, np.ones(40), -z, enough - 1)
    assert model.theta is theta
    assert model.fitted == 40
    assert model.learn(x, np.ones(40), z**2, enough)
    assert model.fitted == enough
    assert (model.theta != theta).any()


def test_it_learns_every_trial_also_without_a_new_fit():
    model, x, z = learned(40)
    best, at = model.best, np.array([[0.99, 0.01, 1 / 6]])
    model.learn(np.concatenate([x, at]), np.ones(41), np.append(z, -9.0), 41)
    assert model.predict(at)[0] < model.predict(x)[0].min()
    assert model.best < best


def test_an_earlier_fit_is_taken_up_if_it_was_of_these_axes():
    model, x, z = learned()
    again = Surrogate(MIXED, levelled=False)
    again.recall(np.zeros(5), 25)  # of a space that has grown since
    assert again.fitted == 0
    again.recall(model.theta, 25)
    assert not again.learn(x, np.ones(25), z, 25)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_where_a_trial_runs_it_expects_no_news():
    model, x, _ = learned()
    running = np.array([[0.2, 0.9, 1 / 2], [0.9, 0.2, 5 / 6]])
    before, best = model.predict(running), model.best
    elsewhere = model.predict(x)
    model.expect(running)
    after = model.predict(running)
    np.testing.assert_allclose(after[0], before[0], atol=0.01)
    assert (after[1] < before[1]).all()
    assert (model.predict(x)[1] <= elsewhere[1] + 1e-9).all()
    assert model.best <= best


def test_of_trials_trained_in_part_it_predicts_the_whole_training():
    x, z = data(60)
    part = np.arange(60) % 2 == 0
    model = Surrogate(MIXED, levelled=True)
    model.learn(x, np.where(part, 0.25, 1.0), z + 5 * part, 60)
    means, _ = model.predict(x)
    warped = warp(z + 5 * part)
    assert means[~part] == pytest.approx(warped[~part], abs=0.3)
    assert np.corrcoef(means[part], z[part])[0, 1] > 0.9


def test_of_trials_trained_in_part_alone_it_predicts_which_are_good_in_the_end():
    x, z = data(60)
    levels = np.resize([0.25, 0.5, 0.75], 60)
    model = Surrogate(MIXED, levelled=True)
    model.learn(x, levels, z - 4 * levels, 60)
    means, _ = model.predict(x)
    assert np.corrcoef(means, z)[0, 1] > 0.9


def test_levels_whose_losses_differ_by_constants_tell_as_much_as_whole_trainings():
    x, z = data(60)
    levels = np.resize([0.25, 0.5, 0.75], 60)
    levels[-3:] = 1
    offsets = {0.25: 6, 0.5: 1, 0.75: 0.3, 1: 0}  # in uneven steps, as learning slows down
    model = Surrogate(MIXED, levelled=True)
    model.learn(x, levels, z + [offsets[level] for level in levels], 60)
    means, deviations = model.predict(data(300, seed=9)[0])
    assert np.corrcoef(means, data(300, seed=9)[1])[0, 1] > 0.95
    assert deviations.mean() < 0.25
    assert model.theta[3] > 0  # the logarithm of the length scale along the levels


@pytest.mark.parametrize("levelled", [False, True], ids=["whole", "levelled"])
def test_widths_are_the_lengths_of_the_axes_as_multiples_of_their_mean(levelled):
    model, _, _ = learned(levelled=levelled)
    lengths = np.exp(model.theta[:3])
    assert len(model.theta) == 6 + levelled
    np.testing.assert_allclose(model.widths, lengths / stats.gmean(lengths))


def test_a_space_without_axes_has_no_widths():
    assert len(Surrogate(np.zeros(0, bool), levelled=False).widths) == 0
