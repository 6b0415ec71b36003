(* Inequalities on a box: each phi is a Taylor polynomial and a small rest, then interval arithmetic with bisection. *)
From dlinear Require Export evaluation.

Fixpoint zfact (n : nat) : Z := match n with O => 1 | S m => Z.of_nat (S m) * zfact m end.
Lemma zfact_fact n : INR (fact n) = IZR (zfact n).
Proof.
  induction n; [easy|].
  rewrite fact_simpl, mult_INR, IHn, INR_IZR_INZ; cbn [zfact]; now rewrite mult_IZR.
Qed.

(* the first n terms of phi k x, after Horner *)
Fixpoint terms (n k : nat) (x : R) : R :=
  match n with O => 0 | S n => / IZR (zfact k) + x * terms n (S k) x end.
Lemma phi_terms n : forall k x, phi k x = terms n k x + x ^ n * phi (n + k) x.
Proof.
  induction n; intros k x; simpl; [ring|].
  pose proof (phi_step k x) as E; rewrite (IHn (S k) x), zfact_fact, Nat.add_succ_r in E; simpl in E; lra.
Qed.

(* r_k(x) <= e^x x^k/k! for x >= 0: both are 0 at 0, and so on for the derivatives *)
Lemma rest_upper k : forall x, 0 < x -> rest k x <= exp x * x ^ k / INR (fact k).
Proof.
  induction k; intros x P; [unfold rest; simpl; lra|].
  pose (f x := exp x * x ^ S k / INR (fact (S k)) - rest (S k) x).
  pose (g x := exp x * x ^ S k / INR (fact (S k)) + exp x * x ^ k / INR (fact k) - rest k x).
  assert (K : INR (S k) <> 0) by now apply not_0_INR.
  assert (Q : INR (fact k) <> 0) by apply INR_fact_neq_0.
  destruct (mean f g x) as [y [Y E]].
  - intros y; apply (is_derive_minus (fun x => exp x * x ^ S k / INR (fact (S k))) (rest (S k)) y
      (exp y * y ^ S k / INR (fact (S k)) + exp y * y ^ k / INR (fact k)) (rest k y)); [|apply rest_derive].
    rewrite fact_simpl, mult_INR; auto_derive; [easy|].
    change (match k with O => 1 | S _ => INR k + 1 end) with (INR (S k)); simpl pow; field; auto.
  - unfold f; rewrite rest_zero; simpl; unfold Rdiv; ring.
  - lra.
  - assert (0 < y < x) by lra.
    assert (0 <= g y).
    { unfold g; pose proof (IHk y ltac:(lra)).
      assert (0 <= exp y * y ^ S k / INR (fact (S k))); [|lra].
      apply Rmult_le_pos; [|left; apply Rinv_0_lt_compat, INR_fact_lt_0].
      apply Rmult_le_pos; [left; apply exp_pos | apply pow_le; lra]. }
    assert (0 <= f x) by (rewrite E; apply Rmult_le_pos; lra).
    unfold f in *; lra.
Qed.
Lemma phi_range k x b : 0 <= b -> x <= b -> 0 <= phi k x <= exp b * / IZR (zfact k).
Proof.
  intros B X; pose proof (phi_pos k x) as P; split; [lra|].
  rewrite <- zfact_fact; assert (F := INR_fact_lt_0 k); assert (G := Rinv_0_lt_compat _ F).
  destruct (Rle_lt_dec x 0) as [N|N].
  - pose proof (phi_step k x) as E; pose proof (phi_pos (S k) x).
    assert (1 <= exp b) by (rewrite <- exp_0; destruct B as [B| <-]; [left; now apply exp_increasing|lra]).
    nra.
  - apply Rle_trans with (exp x * / INR (fact k)).
    + pose proof (rest_upper k x N) as U; assert (0 < x ^ k) by now apply pow_lt.
      unfold phi; destruct (Req_EM_T x 0) as [Z|Z]; [lra|].
      apply Rmult_le_reg_r with (x ^ k); auto; unfold rest in U.
      replace ((exp x - head k x) / x ^ k * x ^ k) with (exp x - head k x) by (field; lra); lra.
    + apply Rmult_le_compat_r; [lra|]; destruct X as [X| ->]; [left; now apply exp_increasing|lra].
Qed.

(* every phi k x with x <= b as `count` terms and a rest of a known range *)
Ltac factorials :=
  cbn [terms Nat.add];
  repeat match goal with
  | |- context [zfact ?k] => let z := eval vm_compute in (zfact k) in change (zfact k) with z
  end.
Ltac series count b :=
  repeat match goal with
  | |- context [phi ?k ?x] =>
      let whole := fresh "whole" in let range := fresh "range" in
      assert (whole : x <= b) by interval;
      pose proof (phi_range (count + k) x b ltac:(lra) whole) as range;
      clear whole; pose proof (phi_terms count k x) as whole;
      revert whole range; generalize (phi (count + k) x); factorials;
      let small := fresh "small" in intros small whole range; rewrite whole; clear whole
  end.
