(* Numbers: lemmas and tactics that the exported steps use. Every exported proof is one of few templates:
   an identity (`field`), signs that the sorts make manifest (`manifest`), and the lemma of the rule. *)
From Coq Require Export Reals ZArith Lra Lia.
From Coquelicot Require Export Coquelicot.
Open Scope R_scope.

(* 1/x where the sign of x is not known: `field` shall not cancel it. *)
Definition rinv (x : R) : R := / x.

(* phi k x = sum_j x^j/(j+k)!, in closed form; `phi_series` shows that it is the series. *)
Fixpoint head (k : nat) (x : R) : R :=
  match k with O => 0 | S k => head k x + x ^ k / INR (fact k) end.
Definition phi (k : nat) (x : R) : R :=
  match Req_EM_T x 0 with
  | left _ => / INR (fact k)
  | right _ => (exp x - head k x) / x ^ k
  end.

Lemma Req_le a b : a = b -> a <= b. Proof. lra. Qed.
Lemma phi_zero x : phi 0 x = exp x.
Proof.
  unfold phi; destruct (Req_EM_T x 0) as [->|]; simpl; [rewrite exp_0|]; field.
Qed.

Lemma phi_step k x : x * phi (S k) x = phi k x - / INR (fact k).
Proof.
  unfold phi; destruct (Req_EM_T x 0) as [->|H]; [ring|].
  assert (INR (fact k) <> 0) by apply INR_fact_neq_0.
  assert (x ^ k <> 0) by now apply pow_nonzero.
  simpl head; rewrite <- tech_pow_Rmult; field; auto.
Qed.

(* r_k(x) = e^x - head k x has the sign of x^k: r_0 = exp, r_{k+1}(0) = 0, r_{k+1}' = r_k *)
Definition rest (k : nat) (x : R) : R := exp x - head k x.
Lemma head_derive k : forall x, is_derive (head (S k)) x (head k x).
Proof.
  induction k; intros x.
  - simpl; auto_derive; [easy|]; ring.
  - apply (is_derive_ext (fun x => head (S k) x + x ^ S k / INR (fact (S k)))); [easy|].
    replace (head (S k) x) with (plus (head k x) (x ^ k / INR (fact k))) by reflexivity.
    apply (is_derive_plus (head (S k))); [apply IHk|].
    replace (INR (fact (S k))) with (INR (S k) * INR (fact k)) by now rewrite fact_simpl, mult_INR.
    assert (INR (S k) <> 0) by now apply not_0_INR.
    assert (INR (fact k) <> 0) by apply INR_fact_neq_0.
    auto_derive; [easy|]; rewrite S_INR in *; simpl pred; field.
    split; [easy|]; change (INR (S k) <> 0); now apply not_0_INR.
Qed.
Lemma rest_derive k x : is_derive (rest (S k)) x (rest k x).
Proof.
  apply (is_derive_minus exp (head (S k)) x (exp x) (head k x)); [|apply head_derive].
  auto_derive; [easy|ring].
Qed.
Lemma rest_zero k : rest (S k) 0 = 0.
Proof.
  unfold rest; rewrite exp_0; induction k; [simpl; field|].
  change (head (S (S k)) 0) with (head (S k) 0 + 0 ^ S k / INR (fact (S k))).
  rewrite pow_i by lia; unfold Rdiv; lra.
Qed.
Lemma mean (f g : R -> R) x : (forall y, is_derive f y (g y)) -> f 0 = 0 -> x <> 0 ->
  exists y, (0 < y < x \/ x < y < 0) /\ f x = g y * x.
Proof.
  intros D F0 N.
  assert (C : forall a b, derivable_pt_lim f a b <-> is_derive f a b) by (intros; symmetry; apply is_derive_Reals).
  destruct (Rlt_le_dec 0 x).
  - destruct (MVT_cor2 f g 0 x) as [y [E H]]; [easy|intros; now apply C|]; exists y; split; [auto|lra].
  - destruct (MVT_cor2 f g x 0) as [y [E H]]; [lra|intros; now apply C|]; exists y; split; [auto|nra].
Qed.
Lemma rest_sign k : forall x, x <> 0 -> 0 < rest k x / x ^ k.
Proof.
  induction k; intros x N.
  - unfold rest; simpl; replace ((exp x - 0) / 1) with (exp x) by field; apply exp_pos.
  - destruct (mean (rest (S k)) (rest k) x) as [y [Hy E]]; auto using rest_derive, rest_zero.
    assert (Y : y <> 0) by lra.
    replace (rest (S k) x / x ^ S k) with (rest k y / y ^ k * (y / x) ^ k).
    + apply Rmult_lt_0_compat; [auto|]; apply pow_lt.
      destruct Hy; [apply Rdiv_lt_0_compat; lra|].
      replace (y / x) with (- y / - x) by (field; lra); apply Rdiv_lt_0_compat; lra.
    + rewrite E; unfold Rdiv; rewrite Rpow_mult_distr, pow_inv; simpl.
      field; repeat split; auto; now apply pow_nonzero.
Qed.
Lemma phi_pos k x : 0 < phi k x.
Proof.
  unfold phi; destruct (Req_EM_T x 0); [apply Rinv_0_lt_compat, INR_fact_lt_0|now apply rest_sign].
Qed.

(* -- differences: from B - A to A <= B *)
Lemma le_of A B d : B - A = d -> 0 <= d -> A <= B. Proof. lra. Qed.
Lemma lt_of A B d : B - A = d -> 0 < d -> A < B. Proof. lra. Qed.
Lemma eq_of A B d : B - A = d -> d = 0 -> A = B. Proof. lra. Qed.
Lemma gap_le A B : A <= B -> 0 <= B - A. Proof. lra. Qed.
Lemma gap_lt A B : A < B -> 0 < B - A. Proof. lra. Qed.
Lemma gap_lt_le A B : A < B -> 0 <= B - A. Proof. lra. Qed.
Lemma gap_eq A B : A = B -> B - A = 0. Proof. lra. Qed.
Lemma times_zero m d : d = 0 -> m * d = 0. Proof. intros ->; ring. Qed.
Lemma zero_le d : d = 0 -> 0 <= d. Proof. lra. Qed.
Lemma plus_zero a b : a = 0 -> b = 0 -> a + b = 0. Proof. lra. Qed.
Lemma plus_le a b : 0 <= a -> 0 <= b -> 0 <= a + b. Proof. lra. Qed.
Lemma plus_lt a b : 0 < a -> 0 <= b -> 0 < a + b. Proof. lra. Qed.
Lemma square_le e : 0 <= e * e. Proof. nra. Qed.

(* -- integers *)
Lemma IZR_pos_one z : 0 < IZR z -> 1 <= IZR z.
Proof. intros H; apply lt_IZR in H; apply IZR_le; lia. Qed.
Lemma IZR_eq a b : IZR a = IZR b -> a = b. Proof. apply eq_IZR. Qed.
Lemma Z_induction (P : Z -> Prop) :
  P 0%Z -> (forall k, 0 <= IZR k -> P k -> P (k + 1)%Z) -> forall k, 0 <= IZR k -> P k.
Proof.
  intros P0 PS k Hk; apply le_IZR in Hk.
  apply (natlike_ind P); auto.
  intros x Hx Px; apply PS; auto; now apply IZR_le.
Qed.
Lemma Z_induction_upto (P : Z -> Prop) (e : R) :
  P 0%Z -> (forall k, 0 <= IZR k -> P k -> IZR k + 1 <= e -> P (k + 1)%Z) ->
  forall k, 0 <= IZR k -> IZR k <= e -> P k.
Proof.
  intros P0 PS k Hk; revert k Hk; apply (Z_induction (fun k => IZR k <= e -> P k)); auto.
  intros k Hk IH H; rewrite plus_IZR in H; apply PS; auto; apply IH; lra.
Qed.
Lemma floor_below x : IZR (Int_part x) <= x. Proof. apply base_Int_part. Qed.
Lemma floor_above x : x < IZR (Int_part x) + 1. Proof. destruct (base_Int_part x); lra. Qed.

Lemma min_left x y : Rmin x y <= x. Proof. apply Rmin_l. Qed.
Lemma min_right x y : Rmin x y <= y. Proof. apply Rmin_r. Qed.
Lemma max_left x y : x <= Rmax x y. Proof. apply Rmax_l. Qed.
Lemma max_right x y : y <= Rmax x y. Proof. apply Rmax_r. Qed.

(* -- powers and exponentials of sums *)
Lemma power_exp b z : 0 < b -> powerRZ b z = exp (IZR z * ln b).
Proof. intros; rewrite powerRZ_Rpower by easy; reflexivity. Qed.
Lemma exp_pow x k : exp x ^ k = exp (INR k * x).
Proof.
  induction k; [simpl; rewrite Rmult_0_l, exp_0; easy|].
  rewrite S_INR, <- tech_pow_Rmult, IHk, <- exp_plus; f_equal; ring.
Qed.
Lemma inv_exp x : / exp x = exp (- x). Proof. now rewrite exp_Ropp. Qed.
Lemma exp_ln_id b : 0 < b -> b = exp (ln b). Proof. intros; now rewrite exp_ln. Qed.

(* -- signs that the sorts make manifest *)
Lemma even_pow_le x k : 0 <= x ^ (2 * k).
Proof. rewrite pow_mult; apply pow_le; nra. Qed.
Lemma even_inv_le x : 0 <= x -> 0 <= / x.
Proof.
  intros [H| <-]; [left; now apply Rinv_0_lt_compat|rewrite Rinv_0; lra].
Qed.
Lemma rinv_le x : 0 <= x -> 0 <= rinv x. Proof. apply even_inv_le. Qed.
Lemma powerRZ_le_pos x z : 0 < x -> 0 <= powerRZ x z. Proof. intros; left; now apply powerRZ_lt. Qed.

Ltac even n := let k := eval compute in (Nat.div2 n) in
  let e := eval compute in (Nat.eqb n (2 * k)) in
  match e with true => change n with (2 * k)%nat end.

Lemma pos_of_one x : 1 <= x -> 0 < x. Proof. lra. Qed.
Lemma le_of_pos x : 0 < x -> 0 <= x. Proof. lra. Qed.

Ltac extra_sign := fail.  (* signs of norms: redefined where there are matrices *)
Ltac manifest :=
  lazymatch goal with
  | |- ?x <> 0 => apply Rgt_not_eq; change (0 < x); manifest
  | |- _ /\ _ => split; manifest
  | |- 0 <= ?a + ?b => apply plus_le; manifest
  | |- 0 < ?a + ?b => first [apply Rplus_lt_le_0_compat; manifest | apply Rplus_le_lt_0_compat; manifest]
  | |- 0 <= ?a * ?a => apply square_le
  | |- 0 <= ?a * ?b => apply Rmult_le_pos; manifest
  | |- 0 < ?a * ?b => apply Rmult_lt_0_compat; manifest
  | |- 0 <= ?a ^ ?n => first [apply pow_le; solve [manifest] | even n; apply even_pow_le]
  | |- 0 < ?a ^ ?n => apply pow_lt; manifest
  | |- 0 <= / ?a => apply even_inv_le; manifest
  | |- 0 < / ?a => apply Rinv_0_lt_compat; manifest
  | |- 0 <= rinv ?a => apply rinv_le; manifest
  | |- 0 <= exp _ => left; apply exp_pos
  | |- 0 < exp _ => apply exp_pos
  | |- 0 <= Rpower _ _ => left; apply exp_pos
  | |- 0 < Rpower _ _ => apply exp_pos
  | |- 0 <= powerRZ _ _ => apply powerRZ_le_pos; manifest
  | |- 0 < powerRZ _ _ => apply powerRZ_lt; manifest
  | |- 0 <= sqrt _ => apply sqrt_pos
  | |- 0 < sqrt _ => apply sqrt_lt_R0; manifest
  | |- 0 < phi _ _ => apply phi_pos
  | |- 0 <= phi _ _ => left; apply phi_pos
  | _ => first [assumption | solve [clear; lra] | left; assumption | extra_sign]
  end.

(* -- the templates of the steps *)
Ltac push :=
  repeat first [rewrite plus_IZR | rewrite minus_IZR | rewrite mult_IZR | rewrite opp_IZR].
Ltac push_in H :=
  repeat first [rewrite plus_IZR in H | rewrite minus_IZR in H | rewrite mult_IZR in H | rewrite opp_IZR in H].
Ltac identity := first [reflexivity | ring | field; manifest].
(* powers of positive bases: both sides become one exp *)
Lemma pow_exp b k : 0 < b -> b ^ k = exp (INR k * ln b).
Proof. intros; now rewrite <- exp_pow, exp_ln. Qed.
Lemma ln_one x : x = 1 -> ln x = 0. Proof. intros ->; apply ln_1. Qed.
Ltac logs :=
  repeat first
  [ rewrite ln_exp | rewrite ln_1 | rewrite ln_mult by manifest | rewrite ln_Rinv by manifest
  | match goal with |- context [ln ?x] => rewrite (ln_one x) by (clear; lra) end ].
Ltac exponents :=
  unfold Rpower;
  repeat match goal with |- context [?x - 1 + 1] => replace (x - 1 + 1) with x by ring end;
  repeat (rewrite power_exp by manifest);
  repeat first [rewrite exp_pow | rewrite pow_exp by manifest | rewrite inv_exp | rewrite <- exp_plus];
  logs;
  lazymatch goal with
  | |- _ = 1 => rewrite <- exp_0
  | |- 1 = _ => rewrite <- exp_0
  | _ => idtac
  end;
  apply f_equal; push; simpl INR; identity.

Lemma manifest_one (z : Z) x : IZR z = x -> 0 < x -> 1 <= x.
Proof. intros <-; apply IZR_pos_one. Qed.
Lemma Rle_or_le a b : a <= b \/ b <= a. Proof. lra. Qed.
Lemma Zmin_R a b : IZR (Z.min a b) = Rmin (IZR a) (IZR b).
Proof.
  unfold Rmin; destruct (Rle_dec _ _) as [H|H]; f_equal;
    [apply le_IZR in H|assert (b <= a)%Z by (apply le_IZR; lra)]; lia.
Qed.
Lemma Zmax_R a b : IZR (Z.max a b) = Rmax (IZR a) (IZR b).
Proof.
  unfold Rmax; destruct (Rle_dec _ _) as [H|H]; f_equal;
    [apply le_IZR in H|assert (b <= a)%Z by (apply le_IZR; lra)]; lia.
Qed.
Ltac root_of b :=
  let H := fresh "square" in let s := fresh "root" in
  assert (H : b = sqrt b * sqrt b) by (symmetry; apply sqrt_sqrt; manifest);
  try assert (0 < sqrt b) by manifest;
  assert (0 <= sqrt b) by apply sqrt_pos;
  set (s := sqrt b) in *; clearbody s; try rewrite H; clear H.
Ltac roots := f_equal; identity.

(* -- Taylor: from the sign of the last derivative to the sign of the function *)
Lemma taylor_step (f g : R -> R) (u : R) :
  (forall x, 0 <= x <= u -> is_derive f x (g x)) -> f 0 = 0 ->
  (forall x, 0 <= x <= u -> 0 <= g x) -> forall x, 0 <= x <= u -> 0 <= f x.
Proof.
  intros D F0 G x [Hx Hu].
  destruct (Req_dec x 0) as [->|N]; [lra|].
  destruct (MVT_gen f 0 x g) as [c [Hc E]].
  - rewrite Rmin_left, Rmax_right by lra; intros y Hy; apply D; lra.
  - rewrite Rmin_left, Rmax_right by lra; intros y Hy.
    apply continuity_pt_filterlim, (ex_derive_continuous f); exists (g y); apply D; lra.
  - rewrite Rmin_left, Rmax_right in Hc by lra.
    assert (0 <= g c) by (apply G; lra).
    rewrite F0 in E; nra.
Qed.

Lemma taylor_even (f g h : R -> R) :
  (forall x, is_derive f x (g x)) -> (forall x, is_derive g x (h x)) -> f 0 = 0 -> g 0 = 0 ->
  (forall x, 0 <= h x) -> forall x, 0 <= f x.
Proof.
  intros Df Dg F0 G0 H x.
  destruct (Rle_lt_dec 0 x) as [P|P].
  - apply (taylor_step f g x); auto; [|lra]; intros y Hy.
    apply (taylor_step g h x); auto.
  - assert (Dr : forall (q q' : R -> R), (forall y, is_derive q y (q' y)) ->
      forall y, is_derive (fun y => q (- y)) y (- q' (- y))).
    { intros q q' Hq y; replace (- q' (- y)) with (scal (-1) (q' (- y))) by (unfold scal; simpl; unfold mult; simpl; ring).
      apply (is_derive_comp q Ropp); [apply Hq|].
      auto_derive; auto; ring. }
    replace x with (- - x) by ring.
    apply (taylor_step (fun y => f (- y)) (fun y => - g (- y)) (- x)); [| | |lra].
    + intros y _; now apply Dr.
    + now rewrite Ropp_0.
    + intros y Hy.
      apply (taylor_step (fun y => - g (- y)) (fun y => h (- y)) (- x)); auto; [|rewrite Ropp_0, G0; ring].
      intros z _. replace (h (- z)) with (opp (- h (- z))) by (unfold opp; simpl; ring).
      apply (is_derive_opp (fun y => g (- y))); now apply Dr.
Qed.

Lemma RInt_ftc (f g : R -> R) a b :
  (forall x, is_derive g x (f x)) -> (forall x, continuous f x) -> RInt f a b = g b - g a.
Proof.
  intros D C; apply is_RInt_unique; apply (is_RInt_derive g f); intros; [apply D|apply C].
Qed.
Lemma RInt_same (f g : R -> R) a b c d :
  (forall x, f x = g x) -> a = c -> b = d -> RInt f a b = RInt g c d.
Proof. intros H -> ->; apply RInt_ext; intros; apply H. Qed.

(* value of a function at 0, and its derivative *)
Ltac at_zero :=
  cbv beta;
  repeat match goal with
  | |- context [exp ?x] =>
      lazymatch x with context [0] =>
        replace (exp x) with 1 by (symmetry; transitivity (exp 0); [apply f_equal; ring | apply exp_0])
      end
  end;
  identity.
Ltac derive := intros; auto_derive; [repeat split; first [easy | manifest] | cbv beta; identity].
