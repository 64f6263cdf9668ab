! SPDX-License-Identifier: Apache-2.0
!> A host with trapping, with rounding upwards, and with OpenMP threads: each call leaves all of it as it was.
program environment
   use, intrinsic :: ieee_arithmetic, only: ieee_get_rounding_mode, ieee_round_type, ieee_set_rounding_mode, ieee_up, &
      operator(==)
   use, intrinsic :: ieee_exceptions, only: ieee_all, ieee_divide_by_zero, ieee_flag_type, ieee_get_flag, &
      ieee_get_halting_mode, ieee_inexact, ieee_invalid, ieee_overflow, ieee_set_flag
   use, intrinsic :: iso_fortran_env, only: real64
   use omp_lib, only: omp_get_max_threads, omp_set_num_threads
   use coupler_plugin, only: coupler_t
   use testing, only: new_coupler, report
   implicit none
   type(coupler_t) :: coupler
   real(real64), target :: tas(3) = [1.0_real64, 2.0_real64, 4.0_real64], lai(3)
   integer :: threads_inside, i

   call omp_set_num_threads(3)
   call ieee_set_rounding_mode(ieee_up)
   call ieee_set_flag(ieee_all, .false.)
   call report('before', is_as_set())
   call new_coupler(coupler)
   call report('after_init', is_as_set())
   call coupler%set_cells([1, 2, 3], tas, tas)
   call report('after_set_cells', is_as_set())
   call coupler%bind('tas', tas)
   call coupler%bind('lai', lai)
   call report('after_bind', is_as_set())
   do i = 1, 5
      call coupler%step()
   end do
   call report('after_step', is_as_set())
   call report('answer', all(nint(lai) == [3, 5, 9]))

   threads_inside = 0
   !$omp parallel reduction(+:threads_inside)
   threads_inside = threads_inside + 1
   !$omp end parallel
   call report('threads', threads_inside)
   call coupler%finalize()
   call report('after_finalize', is_as_set())

contains

   logical function is_as_set()
      type(ieee_round_type) :: rounding
      type(ieee_flag_type), parameter :: trapped(3) = [ieee_invalid, ieee_divide_by_zero, ieee_overflow]
      logical :: halts(3), raised

      call ieee_get_rounding_mode(rounding)
      call ieee_get_halting_mode(trapped, halts)
      call ieee_get_flag(ieee_inexact, raised) ! numpy raises it in every other operation
      is_as_set = rounding == ieee_up .and. all(halts) .and. .not. raised .and. omp_get_max_threads() == 3
   end function is_as_set

end program environment
